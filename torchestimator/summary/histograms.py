"""Histogram summaries: how the values of a tensor are spread."""

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchestimator.summary import protos
from torchestimator.summary.item import SummaryItem

logger = logging.getLogger(__name__)

_SMALLEST = 1e-12
_GROWTH = 1.1
_EDGES = 774
"""Positive bucket edges: 1e-12 growing by 10 % up to 1e20, the default buckets of TensorFlow's histograms."""
_SLOTS = 2 * (_EDGES + 1)
_CHUNK = 1 << 22
"""Values counted at once: bounds the extra memory to some 100 MB however large the tensor is."""


@dataclass(frozen=True, kw_only=True)
class HistogramSummary(SummaryItem):
    """Counts over exponential buckets, made on the device: the values themselves are neither copied nor fetched.

    `tensors` are the counts, `[slots + 1]` int64 (the last one counts NaN and infinities), and the statistics
    (min, max, sum, sum of squares), `[4]`.
    """

    @classmethod
    def of(cls, tag: str, values: torch.Tensor) -> "HistogramSummary":
        """Count the values of a tensor.

        Args:
            tag: Name of the summary.
            values: A real tensor of any shape and type. NaN and infinities are left out, with a warning when the
                summary is written.
        """
        if not isinstance(values, torch.Tensor) or values.is_complex():
            received = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
            raise TypeError(
                f"`values` of the histogram summary {tag!r} must be a tensor of real numbers. Received: {received}."
            )
        flat = values.detach().reshape(-1)
        work_dtype = torch.float64 if flat.dtype in (torch.float64, torch.int64) else torch.float32
        counts = torch.zeros(_SLOTS + 1, dtype=torch.int64, device=flat.device)
        lows = torch.full((1,), math.inf, dtype=work_dtype, device=flat.device)
        highs, sums, squares = -lows, torch.zeros_like(lows), torch.zeros_like(lows)
        for start in range(0, flat.numel(), _CHUNK):
            part = flat[start : start + _CHUNK].to(work_dtype)
            finite = part.isfinite()
            counts = _count(counts, part, finite)
            zeroed = torch.where(finite, part, 0.0)
            lows = torch.minimum(lows, torch.where(finite, part, math.inf).min())
            highs = torch.maximum(highs, torch.where(finite, part, -math.inf).max())
            sums = sums + zeroed.sum()
            squares = squares + zeroed.square().sum()
        return cls(tag=tag, tensors=(counts, torch.cat([lows, highs, sums, squares])))

    def encode(self, arrays: Sequence[np.ndarray]) -> list[protos.Message]:
        """Return one histogram message, with the empty buckets merged."""
        counts, statistics = arrays
        buckets, left_out = counts[:_SLOTS], int(counts[_SLOTS])
        total = int(buckets.sum())
        if left_out:
            logger.warning(
                "The histogram summary %r leaves out %d of %d values, which are NaN or infinite.",
                self.tag,
                left_out,
                total + left_out,
            )
        limits, merged = _merge_empty(buckets)
        return [protos.histogram(self.tag, statistics.tolist() if total else [0.0] * 4, limits, merged)]


def _count(counts: torch.Tensor, values: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
    """Return `counts` with one chunk added.

    The bucket is computed from the logarithm instead of searched for: four times as fast, and it needs no table on the
    device. A value within float rounding of an edge may be counted on its other side.
    """
    magnitude = (values.abs().log() - math.log(_SMALLEST)).div(math.log(_GROWTH)).floor().add(1).clamp(0, _EDGES)
    slots = torch.where(values < 0, _EDGES - magnitude, _EDGES + 1 + magnitude)
    slots = torch.where(finite, slots, _SLOTS).to(torch.int64)
    return counts.scatter_add(0, slots, torch.ones_like(counts[:1]).expand(slots.shape))


def _right_edges() -> np.ndarray:
    """Return the upper limit of each slot, ascending, as float64."""
    edges = _SMALLEST * _GROWTH ** np.arange(_EDGES)
    return np.concatenate([-edges[::-1], [0.0], edges, [sys.float_info.max]])


def _merge_empty(buckets: np.ndarray) -> tuple[list[float], list[float]]:
    """Return limits and counts with the empty outer buckets dropped and each inner run of empty ones made one."""
    limits = _right_edges()
    filled = np.flatnonzero(buckets)
    if not len(filled):
        return [0.0], [0.0]
    kept = np.arange(filled[0], filled[-1] + 1)
    ends_run = (buckets[kept] > 0) | (buckets[np.minimum(kept + 1, filled[-1])] > 0)
    kept = kept[ends_run]
    return limits[kept].tolist(), buckets[kept].astype(np.float64).tolist()
