"""Array summaries: evaluation results of more than one value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchestimator.summary import protos
from torchestimator.summary.item import SummaryItem


@dataclass(frozen=True, kw_only=True)
class ArraySummary(SummaryItem):
    """A whole tensor, kept in the event file for tools; no dashboard shows it (as `tf.estimator` kept such metrics)."""

    @classmethod
    def of(cls, tag: str, values: torch.Tensor | np.ndarray) -> "ArraySummary":
        """Keep a real tensor or array of any shape."""
        tensor = torch.as_tensor(values)
        if tensor.is_complex():
            raise TypeError(f"`values` of the summary {tag!r} must be real. Received: a tensor of {tensor.dtype}.")
        narrow = tensor.dtype in (torch.float16, torch.bfloat16)
        return cls(tag=tag, tensors=(tensor.detach().to(torch.float32 if narrow else tensor.dtype, copy=True),))

    def encode(self, arrays: Sequence[np.ndarray]) -> list[protos.Message]:
        """Return one tensor message."""
        return [protos.array(self.tag, arrays[0])]
