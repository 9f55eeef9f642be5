"""A learning rate schedule and its saved state."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Schedule:
    """A torch.optim.lr_scheduler over one optimizer, stepped once per update.

    Without a scheduler the learning rate is constant and always the code's: a checkpoint does not
    freeze it. With one, resuming goes on where the schedule was; if the initial rate in the code
    has changed meanwhile, the schedule goes on in proportion to it.

    Args:
        scheduler_fn: makes the scheduler; None for a constant rate.
        optimizer: whose learning rates are driven.
    """

    def __init__(self, scheduler_fn: Callable[[torch.optim.Optimizer], Any] | None, optimizer: torch.optim.Optimizer):
        self._optimizer = optimizer
        self._scheduler: Any = None if scheduler_fn is None else scheduler_fn(optimizer)
        self.step: Callable[[], None] = _constant
        if self._scheduler is None:
            if scheduler_fn is not None:
                raise TypeError("`scheduler_fn` must return a torch.optim.lr_scheduler. Received: None.")
            return
        if not hasattr(self._scheduler, "step") or not hasattr(self._scheduler, "state_dict"):
            raise TypeError(
                f"`scheduler_fn` must return a torch.optim.lr_scheduler. Received: {self._scheduler!r}. "
                "Write: lambda opt: torch.optim.lr_scheduler.StepLR(opt, 1000)"
            )
        if isinstance(self._scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise TypeError(
                "`scheduler_fn` must return a schedule that depends on the step alone. ReduceLROnPlateau needs an "
                "evaluation's result at each step; use a hook that reads evaluations, or a decaying schedule."
            )
        self.step = self._scheduler.step

    def state_dict(self) -> dict[str, Any]:
        """The schedule's position as JSON values."""
        return {
            "rates": [float(group["lr"]) for group in self._groups()],
            "initial_rates": self._initial_rates(),
            "scheduler": None if self._scheduler is None else _encoded(self._scheduler.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave; see the class for changed learning rates."""
        if self._scheduler is None or state["scheduler"] is None:
            return
        now = self._initial_rates()
        if len(now) != len(state["rates"]):
            return
        self._scheduler.load_state_dict(_decoded(state["scheduler"]))
        ratios = [rate / before if before else 1.0 for rate, before in zip(now, state["initial_rates"], strict=True)]
        for group, rate, initial, ratio in zip(self._groups(), state["rates"], now, ratios, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * ratio)
            else:
                group["lr"] = rate * ratio
            group["initial_lr"] = initial
        if hasattr(self._scheduler, "base_lrs"):
            self._scheduler.base_lrs = [
                rate * ratio for rate, ratio in zip(self._scheduler.base_lrs, ratios, strict=True)
            ]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for group in self._optimizer.param_groups if "lr" in group]

    def _initial_rates(self) -> list[float]:
        return [float(group.get("initial_lr", group["lr"])) for group in self._groups()]


def _constant() -> None:
    return


def _encoded(value: Any) -> Any:
    """JSON values for what torch's schedulers keep: dicts with integer keys, tuples, 0-dim tensors."""
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _encoded(item) for key, item in value.items() if not callable(item)}
        return {"__pairs__": [[key, _encoded(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__pairs__"}:
            return {key: _decoded(item) for key, item in value["__pairs__"]}
        return {key: _decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value
