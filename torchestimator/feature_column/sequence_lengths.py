"""How long the sequences of a batch are."""

import torch
from torch import Tensor

from torchestimator.feature_column.transformation import CategoryIds
from torchestimator.tracing import sizes


def sequence_lengths(ids: CategoryIds) -> Tensor:
    """[batch] int64: one more than the last step of each example that has a value."""
    return lengths_of(ids.ids, ids.absent)


def lengths_of(values: Tensor, absent: Tensor | None) -> Tensor:
    """[batch] int64: one more than the last step that is not absent.

    Args:
        values: [batch, steps, ...].
        absent: [batch, steps]; None: none is.
    """
    batch, num_steps = values.shape[:2]
    if absent is None:
        return torch.full((batch,), num_steps, dtype=torch.int64, device=values.device)
    if sizes(values)[1] == 0:
        return torch.zeros((batch,), dtype=torch.int64, device=values.device)
    ends = torch.arange(1, num_steps + 1, device=values.device)
    return ends.expand(batch, -1).masked_fill(absent, 0).amax(1)
