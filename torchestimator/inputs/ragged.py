"""RaggedFeature: a feature with any number of values per example."""

from typing import NamedTuple

from torch import Tensor


class RaggedFeature(NamedTuple):
    """A feature with any number of values per example: all values one after another, and where each example begins.

    The layout of `torch.nn.EmbeddingBag`, torchrec's jagged tensors and Arrow's lists. A NamedTuple, so that what
    moves, pins or maps a batch's tensors finds both.
    """

    values: Tensor
    """[values] of all examples, strings as fingerprints. [values, size] where a sequence has vectors."""
    offsets: Tensor
    """[batch + 1] int64: the values of example i are `values[offsets[i] : offsets[i + 1]]`."""

    @property
    def num_rows(self) -> int:
        """The number of examples."""
        return self.offsets.shape[0] - 1
