"""A user's own loss function: which arguments it may take, and what it must give."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

LossFn: TypeAlias = Callable[..., Tensor]
"""`loss_fn(labels, logits)`, which may also take `features` and `loss_reduction`."""

_REQUIRED = ("labels", "logits")
_OPTIONAL = ("features", "loss_reduction")


class LossFunction:
    """Calls a user's `loss_fn` with the arguments that it names.

    Args:
        loss_fn: takes `labels` and `logits`, and may take `features` and `loss_reduction`; gives the loss of each
            example, [..., outputs], before weights and reduction.
        outputs: last dimension of what it must give.

    Raises:
        TypeError: it can't be called.
        ValueError: its arguments have other names.
    """

    def __init__(self, loss_fn: LossFn, outputs: int) -> None:
        if not callable(loss_fn):
            raise TypeError(f"`loss_fn` must be a function of `labels` and `logits`. Received: {loss_fn!r}.")
        names = tuple(inspect.signature(loss_fn).parameters)
        odd = [name for name in names if name not in (*_REQUIRED, *_OPTIONAL)]
        if odd or not set(_REQUIRED) <= set(names):
            raise ValueError(
                "`loss_fn` must have arguments called `labels` and `logits`, and may have `features` and "
                f"`loss_reduction`; no others. Received: arguments {list(names)}. "
                "Write: def loss_fn(labels, logits): ..."
            )
        self._loss_fn = loss_fn
        self._outputs = outputs
        self._optional = tuple(name for name in _OPTIONAL if name in names)

    def __call__(self, labels: Tensor, logits: Tensor, features: Any, loss_reduction: str) -> Tensor:
        """The loss of each example, [..., outputs].

        Raises:
            ValueError: `loss_fn` gave something else.
        """
        given = {"features": features, "loss_reduction": loss_reduction}
        losses = self._loss_fn(labels=labels, logits=logits, **{name: given[name] for name in self._optional})
        expected = (*logits.shape[:-1], self._outputs)
        if not isinstance(losses, Tensor) or losses.shape != expected:
            shown = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"`loss_fn` must return the loss of each example, a tensor of shape {list(expected)}; weights and "
                f'reduction come afterwards. Received: {shown}. Write: reduction="none", and .mean(-1, keepdim=True) '
                "where several outputs give one loss."
            )
        return losses if torch.is_floating_point(losses) else losses.to(logits.dtype)
