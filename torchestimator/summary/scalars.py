"""Scalar summaries: one number per step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchestimator.summary import protos
from torchestimator.summary.item import SummaryItem


@dataclass(frozen=True, kw_only=True)
class ScalarSummary(SummaryItem):
    """A single number, written in the same form as `tf.compat.v1.summary.scalar` writes it."""

    @classmethod
    def of(cls, tag: str, tensor: torch.Tensor | np.ndarray | np.generic | float) -> "ScalarSummary":
        """Keep one value.

        Args:
            tag: Name of the summary.
            tensor: A tensor, array or number that holds exactly one real value.
        """
        if not isinstance(tensor, (torch.Tensor, np.ndarray, np.generic, int, float)):
            raise TypeError(
                f"`tensor` of the scalar summary {tag!r} must be a tensor or a number. Received: {tensor!r} "
                f"of type {type(tensor).__name__}. For words, use summary.text."
            )
        value = torch.as_tensor(tensor)
        if value.is_complex():
            raise TypeError(
                f"`tensor` of the scalar summary {tag!r} must be real. Received: a tensor of {value.dtype}. "
                f"Record `x.abs()`, `x.real` or `x.imag`."
            )
        if value.numel() != 1:
            raise ValueError(
                f"`tensor` of the scalar summary {tag!r} must hold one value. Received: a tensor of shape "
                f"{list(value.shape)}. Reduce it first: summary.scalar({tag!r}, x.mean()), or show how its values are "
                f"spread: summary.histogram({tag!r}, x)."
            )
        return cls(tag=tag, tensors=(value.detach().reshape(()).to(torch.float32, copy=True),))

    def encode(self, arrays: Sequence[np.ndarray]) -> list[protos.Message]:
        """Return one `simple_value`; NaN and infinities are written as they are."""
        return [protos.scalar(self.tag, float(arrays[0]))]
