"""Descriptions of a training step's update: what model_fn returns as `train_op`.

    loss = F.cross_entropy(logits, labels)
    train_op = te.minimize(loss, lambda params: torch.optim.AdamW(params, lr=1e-3), clip_norm=1.0)

model_fn runs once per batch, so it can't hold an optimizer; it says which loss is to be made
smaller and how an optimizer is made. The loop makes the optimizer once, after the strategy has
placed the module. That is what lets one model_fn run eagerly, compiled and on many devices.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

OptimizerFn: TypeAlias = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
SchedulerFn: TypeAlias = Callable[[torch.optim.Optimizer], Any]
VarList: TypeAlias = nn.Module | str | Iterable[nn.Parameter | nn.Module] | Sequence[str]


class Minimize(NamedTuple):
    """One loss, one optimizer: see `minimize`."""

    loss: Tensor
    """[] the value that is differentiated."""
    optimizer_fn: OptimizerFn
    """Makes the optimizer; called once."""
    scheduler_fn: SchedulerFn | None
    """Makes the learning rate schedule; called once. None: constant."""
    clip_norm: float | Tensor | None
    """Largest global L2 norm of the gradients. None: no clipping."""
    var_list: VarList | None
    """The parameters that are updated. None: all trainable ones."""
    accumulate_steps: int
    """Batches per update of the parameters."""
    loss_weight: float | Tensor | None
    """How many terms the loss averages over in this batch. None: the batch size."""


class Group(NamedTuple):
    """Several updates from one forward pass: see `group`."""

    train_ops: tuple[Minimize, ...]
    """In the order in which they are applied."""


def minimize(
    loss: Tensor,
    optimizer_fn: OptimizerFn,
    scheduler_fn: SchedulerFn | None = None,
    clip_norm: float | Tensor | None = None,
    var_list: VarList | None = None,
    accumulate_steps: int = 1,
    *,
    loss_weight: float | Tensor | None = None,
) -> Minimize:
    """Describes one step of gradient descent on `loss`.

    Args:
        loss: [] a tensor that depends on parameters from `get_module` or `get_parameter`.
        optimizer_fn: gets the list of parameters, returns a `torch.optim.Optimizer`, for
            instance `lambda params: torch.optim.Adam(params, lr=1e-3)`. Called once per run.
        scheduler_fn: gets the optimizer, returns a `torch.optim.lr_scheduler`; it is stepped
            once per update of the parameters. When training resumes, the settings of optimizer and
            schedule are those of the code, the position in the schedule is that of the checkpoint.
        clip_norm: the gradients are scaled down so that their global L2 norm is at most this
            (tf.clip_by_global_norm).
        var_list: what to update: a module, an iterable of parameters and modules, or a regular
            expression (or several) matched at the start of the parameter names. None means
            every parameter that requires a gradient. Like the functions, it is looked at once.
        accumulate_steps: gradients of that many batches make one update. Each batch counts by
            its `loss_weight`, so that short batches and a window cut short by the end of the
            data give the gradient of the examples that were really seen.
        loss_weight: how many terms `loss` averages over in this batch, a number or a [] tensor.
            The default, the batch size, is right for a mean over examples; give the number of
            tokens for a mean over tokens. Only used when `accumulate_steps` is above 1.

    Raises:
        TypeError: `loss` is not a tensor, `optimizer_fn` can't be called, or a number is none.
        ValueError: `loss` is not a scalar, `accumulate_steps` or `clip_norm` is not positive, or
            `loss_weight` is negative.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"`loss` must be a tensor, the value to be minimised. Received: {type(loss).__name__}.")
    if loss.dim() and loss.numel() != 1:
        raise ValueError(
            f"`loss` must be a scalar; reduce it, for instance with `loss.mean()`. Received: shape {list(loss.shape)}."
        )
    if isinstance(optimizer_fn, torch.optim.Optimizer):
        raise TypeError(
            "`optimizer_fn` must make the optimizer, not be one: model_fn runs at every step, and the state of an "
            "optimizer made there would be lost each time. Received: an instance of "
            f"{type(optimizer_fn).__name__}. Write: te.minimize(loss, lambda params: "
            f"torch.optim.{type(optimizer_fn).__name__}(params, ...))"
        )
    if not callable(optimizer_fn):
        raise TypeError(
            "`optimizer_fn` must be a function from a list of parameters to an optimizer. "
            f"Received: {optimizer_fn!r}. Write: te.minimize(loss, lambda params: torch.optim.Adam(params, lr=1e-3))"
        )
    if scheduler_fn is not None and not callable(scheduler_fn):
        raise TypeError(
            "`scheduler_fn` must be a function from an optimizer to a schedule. "
            f"Received: {scheduler_fn!r}. Write: lambda opt: torch.optim.lr_scheduler.StepLR(opt, 1000)"
        )
    if clip_norm is not None or accumulate_steps != 1 or loss_weight is not None:
        _check_numbers(clip_norm, accumulate_steps, loss_weight)
    return Minimize(loss, optimizer_fn, scheduler_fn, clip_norm, var_list, accumulate_steps, loss_weight)


def _check_numbers(clip_norm: float | Tensor | None, accumulate_steps: int, loss_weight: float | Tensor | None) -> None:
    # Tuples and not unions: torch.compile traces this, and up to torch 2.9 it knows no unions.
    if not isinstance(accumulate_steps, int):
        raise TypeError(f"`accumulate_steps` must be an integer, a number of batches. Received: {accumulate_steps!r}.")
    if accumulate_steps < 1:
        raise ValueError(f"`accumulate_steps` must be a positive number of batches. Received: {accumulate_steps}.")
    if clip_norm is not None and not isinstance(clip_norm, Tensor):
        if not isinstance(clip_norm, (int, float, np.number)):
            raise TypeError(f"`clip_norm` must be a number, or None for no clipping. Received: {clip_norm!r}.")
        if not clip_norm > 0:
            raise ValueError(f"`clip_norm` must be positive, or None for no clipping. Received: {clip_norm}.")
    if isinstance(loss_weight, Tensor):
        if loss_weight.numel() != 1:
            raise ValueError(
                "`loss_weight` must be one number for the batch: the number of terms that `loss` averages over. "
                f"Received: shape {list(loss_weight.shape)}."
            )
    elif loss_weight is not None:
        if not isinstance(loss_weight, (int, float, np.number)):
            raise TypeError(f"`loss_weight` must be a number or a [] tensor. Received: {loss_weight!r}.")
        if not 0 <= loss_weight < math.inf:
            raise ValueError(f"`loss_weight` must be a count, 0 or more. Received: {loss_weight}.")


def group(*train_ops: Minimize | Group) -> Group:
    """Several `minimize` descriptions as one train_op, for models with more than one optimizer.

    All gradients are taken from the same forward pass, before any parameter changes; then the
    updates are applied in the order given. The counterpart of tf.group over train ops.

        te.group(te.minimize(d_loss, d_opt, var_list=discriminator),
                 te.minimize(g_loss, g_opt, var_list=generator))
    """
    flat: list[Minimize] = []
    for op in train_ops:
        if isinstance(op, Group):
            flat.extend(op.train_ops)
        elif isinstance(op, Minimize):
            flat.append(op)
        else:
            raise TypeError(f"`te.group` takes results of `te.minimize` or `te.group`. Received: {op!r}.")
    if not flat:
        raise ValueError("`te.group` needs at least one `te.minimize`. Received: nothing.")
    return Group(tuple(flat))
