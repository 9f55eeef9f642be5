"""What every kind of summary has in common between model_fn and the event file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchestimator.summary.protos import Message


@dataclass(frozen=True, kw_only=True)
class SummaryItem(ABC):
    """One summary of one step: tensors that are still on their device, and the way to write them.

    The tensors are private copies, so what is written is the value at the time of the call, whatever the optimizer or
    an in-place operation does to the original afterwards. `dataclasses.replace(item, tensors=...)` rebinds them, for a
    step that was captured as a graph and whose values come out of that graph.
    """

    tag: str
    """Name shown by TensorBoard."""
    tensors: tuple[torch.Tensor, ...] = ()
    """Detached tensors, on the device where they were computed."""

    @abstractmethod
    def encode(self, arrays: Sequence[np.ndarray]) -> list[Message]:
        """Return the `Summary.Value` messages; the event writer calls it once it has fetched the tensors.

        Args:
            arrays: The values of `tensors`, in the same order.
        """
