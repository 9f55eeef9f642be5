"""Arithmetic over lists of tensors with a learning rate that is a number or, in a captured step, a tensor."""

from typing import TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]
"""One tensor per parameter."""

Rate: TypeAlias = float | Tensor
"""A learning rate: a number, or a [] tensor whose value nobody reads on the host."""


def add_number_(targets: Tensors, number: Rate) -> None:
    """targets += number."""
    if isinstance(number, Tensor):
        for target in targets:
            target.add_(number)
    else:
        torch._foreach_add_(targets, number)


def subtract_scaled_(weights: Tensors, directions: Tensors, rate: Rate) -> None:
    """weights -= rate * directions."""
    if isinstance(rate, Tensor):
        torch._foreach_sub_(weights, torch._foreach_mul(directions, rate))
    else:
        torch._foreach_add_(weights, directions, alpha=-rate)


def add_quotients_of_products_(targets: Tensors, factors: Tensors, others: Tensors, rate: Rate) -> None:
    """targets += factors * others / rate."""
    if isinstance(rate, Tensor):
        torch._foreach_add_(targets, torch._foreach_div(torch._foreach_mul(factors, others), rate))
    else:
        torch._foreach_addcmul_(targets, factors, others, value=1 / rate)


def subtract_quotients_(weights: Tensors, numerators: Tensors, denominators: Tensors, rate: Rate) -> None:
    """weights -= rate * numerators / denominators."""
    if isinstance(rate, Tensor):
        steps = torch._foreach_div(numerators, denominators)
        torch._foreach_mul_(steps, rate)
        torch._foreach_sub_(weights, steps)
    else:
        torch._foreach_addcdiv_(weights, numerators, denominators, value=-rate)


def clip_factors(gradients: Tensors, norm: float) -> Tensors:
    """[] per gradient what scales it down, where necessary, to an L2 norm of `norm` (tf.clip_by_norm)."""
    factors = torch._foreach_norm(gradients)
    torch._foreach_clamp_min_(factors, norm)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, norm)
    return factors


def clipped(gradients: Tensors, norm: float) -> Tensors:
    """Each gradient with an L2 norm of at most `norm`."""
    return [gradient * factor for gradient, factor in zip(gradients, clip_factors(gradients, norm), strict=True)]
