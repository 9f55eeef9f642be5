"""A learning rate schedule, and what of it and of the optimizer's settings outlives the process."""

import collections
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchestimator.log import LOG


class Schedule:
    """A torch.optim.lr_scheduler over one optimizer, stepped once per update; none for a constant rate.

    Settings belong to the code, the position to the checkpoint. A resumed training whose code makes
    the optimizer and the schedule with the same settings as before goes on with exactly the state
    that it had, whatever hooks may have changed in it. Where the code has other settings now (a
    learning rate, a weight decay, the length of a schedule), those are used, and the schedule is
    brought to the number of updates already made.

    Args:
        scheduler_fn: makes the scheduler; None for a constant rate.
        optimizer: whose settings are driven.

    Raises:
        TypeError: `scheduler_fn` returns no schedule, or one that depends on more than the step.
        ValueError: the schedule is of another optimizer.
    """

    def __init__(
        self, scheduler_fn: Callable[[torch.optim.Optimizer], Any] | None, optimizer: torch.optim.Optimizer
    ) -> None:
        self._optimizer = optimizer
        self._scheduler: Any = None
        if scheduler_fn is not None:
            self._scheduler = scheduler_fn(optimizer)
            _check(self._scheduler, optimizer)
        self._updates = 0
        self._settings = self._state()

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self._updates

    def driven_options(self) -> list[str]:
        """The options besides the learning rate that the schedule has changed so far, such as the momentum."""
        if self._scheduler is None:
            return []
        pairs = zip(self._settings["groups"], self._state()["groups"], strict=True)
        changed = {key for first, now in pairs for key in now if key != "lr" and now[key] != first.get(key)}
        return sorted(changed)

    def step(self) -> None:
        """Counts an update and goes on to the next rate."""
        self._updates += 1
        if self._scheduler is not None:
            self._scheduler.step()

    def go_to(self, updates: int) -> None:
        """Goes to where it stands after so many updates, of a training whose own schedule is not known."""
        self._updates = updates
        self._replay()

    def state_dict(self) -> dict[str, Any]:
        """The position, and the settings it belongs to, as JSON values."""
        return {"updates": self._updates, "settings": self._settings, "state": self._state()}

    def load_state_dict(self, document: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave: see the class."""
        self._updates = document["updates"]
        state = document["state"]
        if document["settings"] != self._settings:
            LOG.info("The settings of optimizer or schedule are not those of the checkpoint: the code's are used.")
            self._replay()
            return
        if self._scheduler is not None:
            if state["scheduler"] is None:
                self._replay()
            else:
                self._scheduler.load_state_dict(_decoded(state["scheduler"], self._scheduler.state_dict()))
        for group, values in zip(self._optimizer.param_groups, state["groups"], strict=True):
            for key, value in values.items():
                _put(group, key, _decoded(value, group.get(key)))

    def _replay(self) -> None:
        """Brings a fresh scheduler to the present position."""
        if self._scheduler is None:
            return
        with warnings.catch_warnings():
            # torch expects each step of a schedule to follow one of its optimizer; those were taken before.
            warnings.simplefilter("ignore")
            for _ in range(self._updates):
                self._scheduler.step()

    def _state(self) -> dict[str, Any]:
        return {
            "groups": [_encoded_group(group) for group in self._optimizer.param_groups],
            "scheduler": None if self._scheduler is None else _encoded_or_none(self._scheduler.state_dict()),
        }


def _check(scheduler: Any, optimizer: torch.optim.Optimizer) -> None:
    if not all(hasattr(scheduler, method) for method in ("step", "state_dict", "load_state_dict")):
        raise TypeError(
            f"`scheduler_fn` must return a torch.optim.lr_scheduler. Received: {scheduler!r}. "
            "Write: lambda opt: torch.optim.lr_scheduler.StepLR(opt, 1000)"
        )
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise TypeError(
            "`scheduler_fn` must return a schedule that depends on the step alone. Received: ReduceLROnPlateau, which "
            "needs an evaluation's result at each step. Use a decaying schedule, or a hook that reads evaluations and "
            'sets run_context.optimizer.param_groups[0]["lr"].'
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError(
            "`scheduler_fn` must make a schedule of the optimizer that it is given. Received: another's. "
            "Write: lambda opt: torch.optim.lr_scheduler.StepLR(opt, 1000)"
        )


class _NotPlainError(Exception):
    """A value has no JSON form."""


def _encoded(value: Any) -> Any:
    """JSON values for what torch's schedulers keep: dicts with integer keys, tuples, one-element tensors."""
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _encoded(item) for key, item in value.items()}
        return {"__pairs__": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_encoded(item) for item in value]
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise _NotPlainError(type(value).__name__)


def _encoded_or_none(value: Any) -> Any:
    """None where something has no JSON form; the state is then reached by stepping from the start."""
    try:
        return _encoded(value)
    except _NotPlainError:
        return None


def _encoded_group(group: dict[str, Any]) -> dict[str, Any]:
    encoded = {key: _encoded_or_none(value) for key, value in group.items() if key != "params"}
    return {key: value for key, value in encoded.items() if value is not None}


def _decoded(value: Any, like: Any) -> Any:
    """The inverse of `_encoded`, with the types that `like`, the same value in a fresh object, has."""
    if isinstance(value, dict):
        pairs = value["__pairs__"] if set(value) == {"__pairs__"} else value.items()
        known = like if isinstance(like, dict) else {}
        items = {key: _decoded(item, known.get(key)) for key, item in pairs}
        return collections.Counter(items) if isinstance(like, collections.Counter) else items
    if isinstance(value, list):
        same_length = isinstance(like, (list, tuple)) and len(like) == len(value)
        sequence = [
            _decoded(item, each) for item, each in zip(value, like if same_length else [None] * len(value), strict=True)
        ]
        return tuple(sequence) if isinstance(like, tuple) else sequence
    return torch.full_like(like, value) if isinstance(like, Tensor) else value


def _put(group: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, Tensor):
        group[key].copy_(value)
    else:
        group[key] = value
