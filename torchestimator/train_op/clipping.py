"""Clipping of gradients by their global norm."""

from collections.abc import Sequence

import torch
from torch import Tensor


def clip_by_global_norm(parameters: Sequence[Tensor], clip_norm: float | Tensor) -> None:
    """Scales all gradients so that their common L2 norm is at most `clip_norm` (Pascanu et al. 2013, section 3.2).

    As `torch.nn.utils.clip_grad_norm_`, and for sparse gradients as well, whose rows are counted once each.

    Args:
        parameters: those with a gradient are clipped together.
        clip_norm: the largest norm.
    """
    sparse = [parameter for parameter in parameters if parameter.grad is not None and parameter.grad.is_sparse]
    if not sparse:
        torch.nn.utils.clip_grad_norm_(parameters, clip_norm)  # type: ignore[arg-type]
        return
    values = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            parameter.grad = gradient = gradient.coalesce()
            gradient = gradient.values()
        values.append(gradient)
    norm = torch.nn.utils.get_total_norm(values)
    # The same expression as torch's, so that dense and sparse gradients of one model are clipped alike.
    factor = torch.clamp(clip_norm / (norm + 1e-6), max=1.0)
    torch._foreach_mul_(values, factor)
