"""From a loss per example to the loss of a batch."""

from torch import Tensor

SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
"""Weighted sum over the number of losses; examples of weight 0 are counted too."""

SUM = "sum"
"""Weighted sum."""

LOSS_REDUCTIONS = ("auto", SUM, SUM_OVER_BATCH_SIZE)
"""Allowed values of `loss_reduction`, those of tf.keras.losses.Reduction; "auto" means "sum_over_batch_size"."""


def check_loss_reduction(loss_reduction: str) -> str:
    """Returns `loss_reduction` if it is one of `LOSS_REDUCTIONS`.

    Raises:
        ValueError: it is not.
    """
    if loss_reduction not in LOSS_REDUCTIONS:
        allowed = ", ".join(f'"{allowed}"' for allowed in LOSS_REDUCTIONS)
        hint = f' A mean over the batch is "{SUM_OVER_BATCH_SIZE}".' if loss_reduction == "mean" else ""
        raise ValueError(f"`loss_reduction` must be one of {allowed}. Received: {loss_reduction!r}.{hint}")
    return loss_reduction


def reduced(losses: Tensor, weights: Tensor | None, loss_reduction: str, count: Tensor | None) -> Tensor:
    """The loss of a batch.

    Args:
        losses: [..., outputs] the loss of each example.
        weights: [..., 1] or [..., outputs]; None weighs every loss 1.
        loss_reduction: one of `LOSS_REDUCTIONS`.
        count: [] how many of the losses are real, when weights of 0 also stand for padding; None: all.

    Returns:
        [].
    """
    weighted = losses if weights is None else losses * weights
    if loss_reduction == SUM:
        return weighted.sum()
    return weighted.mean() if count is None else weighted.sum() / count.clamp(min=1)
