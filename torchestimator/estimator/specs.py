"""TrainSpec and EvalSpec: what train_and_evaluate is to do."""

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torchestimator.estimator.exporter import Exporter
from torchestimator.hooks.checkpoint_saver import CheckpointSaverListener, check_listeners
from torchestimator.hooks.hook import SessionRunHook, check_hooks


class _TrainSpec(NamedTuple):
    input_fn: Callable[..., Any]
    max_steps: int | None
    hooks: tuple[SessionRunHook, ...]
    saving_listeners: tuple[CheckpointSaverListener, ...]


class TrainSpec(_TrainSpec):
    """The training part of `train_and_evaluate`.

    Args:
        input_fn: gives the training data.
        max_steps: global step at which training ends; None: when the input ends.
        hooks: run in training.
        saving_listeners: run around each checkpoint.

    Raises:
        TypeError: `input_fn` is not a function, or a hook or listener is something else.
        ValueError: `max_steps` is not positive.
    """

    __slots__ = ()

    def __new__(
        cls,
        input_fn: Callable[..., Any],
        max_steps: int | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        saving_listeners: Sequence[CheckpointSaverListener] | None = None,
    ) -> "TrainSpec":
        check_input_fn(input_fn)
        check_positive("max_steps", max_steps)
        return super().__new__(
            cls,
            input_fn,
            max_steps,
            tuple(check_hooks("hooks", hooks)),
            tuple(check_listeners("saving_listeners", saving_listeners)),
        )


class _EvalSpec(NamedTuple):
    input_fn: Callable[..., Any]
    steps: int | None
    name: str | None
    hooks: tuple[SessionRunHook, ...]
    exporters: tuple[Exporter, ...]
    start_delay_secs: float
    throttle_secs: float


class EvalSpec(_EvalSpec):
    """One evaluation of `train_and_evaluate`.

    Args:
        input_fn: gives the evaluation data.
        steps: batches per evaluation; None: all.
        name: tells several evaluations apart; results go to `eval_<name>`.
        hooks: run in the evaluation.
        exporters: run after each evaluation.
        start_delay_secs: seconds before a separate evaluator's first evaluation; in one process the
            first evaluation follows the first checkpoint after the start.
        throttle_secs: least seconds between two evaluations; the last one always happens.

    Raises:
        TypeError: a part is of the wrong type.
        ValueError: a number is out of range, or exporters share a name.
    """

    __slots__ = ()

    def __new__(
        cls,
        input_fn: Callable[..., Any],
        steps: int | None = 100,
        name: str | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        exporters: Exporter | Iterable[Exporter] | None = None,
        start_delay_secs: float = 120,
        throttle_secs: float = 600,
    ) -> "EvalSpec":
        check_input_fn(input_fn)
        check_positive("steps", steps)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"`name` must be a string. Received: {name!r}.")
        for argument, value in (("start_delay_secs", start_delay_secs), ("throttle_secs", throttle_secs)):
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"`{argument}` must be a number of seconds. Received: {value!r}.")
            if not value >= 0:
                raise ValueError(f"`{argument}` must be at least 0 seconds. Received: {value!r}.")
        return super().__new__(
            cls,
            input_fn,
            steps,
            name,
            tuple(check_hooks("hooks", hooks)),
            _check_exporters(exporters),
            start_delay_secs,
            throttle_secs,
        )


def check_input_fn(input_fn: Any) -> None:
    """Refuses what is not a function."""
    if not callable(input_fn):
        raise TypeError(
            f"`input_fn` must be a function that returns the data. Received: {input_fn!r}. Write: lambda: loader"
        )


def check_positive(argument: str, value: int | None) -> None:
    """Refuses numbers of steps below 1 and what is no whole number."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value).is_integer():
        raise TypeError(f"`{argument}` must be a whole number of steps. Received: {value!r}.")
    if value <= 0:
        raise ValueError(f"`{argument}` must be above 0. Received: {value!r}.")


def _check_exporters(exporters: Exporter | Iterable[Exporter] | None) -> tuple[Exporter, ...]:
    if exporters is None:
        return ()
    if isinstance(exporters, Exporter):
        exporters = (exporters,)
    elif not isinstance(exporters, Iterable):
        raise TypeError(f"`exporters` must be an Exporter or several. Received: {exporters!r}.")
    checked = tuple(exporters)
    names: list[str] = []
    for exporter in checked:
        if not isinstance(exporter, Exporter):
            raise TypeError(f"`exporters` must be an Exporter or several. Received: {exporter!r}.")
        if not isinstance(exporter.name, str) or not exporter.name:
            raise ValueError(f"Every exporter needs a name, a non-empty string. Received: {exporter.name!r}.")
        names.append(exporter.name)
    if len(set(names)) < len(names):
        raise ValueError(
            f"Exporters must have different names, since each writes to a folder of its own. Received: {names}."
        )
    return checked
