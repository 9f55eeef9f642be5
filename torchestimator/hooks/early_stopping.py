"""Hooks that end a training by what its evaluations say."""

import math
import numbers
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from torchestimator.hooks.hook import SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import SecondOrStepTimer, check_cadence
from torchestimator.log import LOG
from torchestimator.summary.reader import ScalarReader


class _EvaluatedEstimator(Protocol):
    def eval_dir(self, name: str | None = None) -> str: ...


class _EarlyStoppingHook(SessionRunHook):
    def __init__(self, should_stop_fn: Callable[[], bool], timer: SecondOrStepTimer) -> None:
        self._should_stop_fn = should_stop_fn
        self._timer = timer

    def begin(self) -> None:
        self._timer.reset()

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        step = run_context.global_step
        if self._timer.should_trigger_for_step(step):
            self._timer.update_last_triggered_step(step)
            if self._should_stop_fn():
                LOG.info("Requesting early stopping at global step %d.", step)
                run_context.request_stop()


def make_early_stopping_hook(
    estimator: _EvaluatedEstimator,
    should_stop_fn: Callable[[], bool],
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> SessionRunHook:
    """A hook that ends training when a function says so.

    Unlike the original it keeps nothing in the checkpoint, so adding or removing it never stands
    in the way of a later restore.

    Args:
        estimator: the te.Estimator being trained.
        should_stop_fn: without arguments; True ends training.
        run_every_secs: seconds between questions; the first is asked after the first step.
        run_every_steps: steps between questions; then pass `run_every_secs=None`.

    Raises:
        TypeError: `estimator` is not an Estimator or `should_stop_fn` not a function.
        ValueError: not exactly one cadence is given, or it is out of range.
    """
    _check_estimator(estimator)
    if not callable(should_stop_fn):
        raise TypeError(f"`should_stop_fn` must be a function without arguments. Received: {should_stop_fn!r}.")
    if run_every_secs is not None and run_every_steps is not None:
        raise ValueError(
            "Only one of `run_every_secs` and `run_every_steps` can be given, and `run_every_secs` is 60 unless it is "
            f"None. Received: {run_every_secs} and {run_every_steps}. Write: run_every_secs=None, "
            f"run_every_steps={run_every_steps}"
        )
    check_cadence(run_every_secs=run_every_secs, run_every_steps=run_every_steps)
    return _EarlyStoppingHook(should_stop_fn, SecondOrStepTimer(run_every_secs, run_every_steps))


def stop_if_higher_hook(
    estimator: _EvaluatedEstimator,
    metric_name: str,
    threshold: float,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> SessionRunHook:
    """A hook that ends training once an evaluation's metric is above a threshold.

    Args:
        estimator: the te.Estimator being trained.
        metric_name: a key of the evaluation's results.
        threshold: the value to pass.
        eval_dir: folder of the evaluation's events; None: `estimator.eval_dir()`.
        min_steps: evaluations of earlier steps do not count.
        run_every_secs: seconds between looks.
        run_every_steps: steps between looks; then pass `run_every_secs=None`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: not exactly one cadence is given, or a number of steps is not positive; in training, no evaluation
            has the metric.
    """
    watch = _Watch(estimator, metric_name, eval_dir, min_steps)
    _check_number("threshold", threshold)
    return make_early_stopping_hook(
        estimator, lambda: watch.passed(operator.gt, "above", threshold), run_every_secs, run_every_steps
    )


def stop_if_lower_hook(
    estimator: _EvaluatedEstimator,
    metric_name: str,
    threshold: float,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> SessionRunHook:
    """A hook that ends training once an evaluation's metric is below a threshold.

    Arguments are those of `stop_if_higher_hook`.
    """
    watch = _Watch(estimator, metric_name, eval_dir, min_steps)
    _check_number("threshold", threshold)
    return make_early_stopping_hook(
        estimator, lambda: watch.passed(operator.lt, "below", threshold), run_every_secs, run_every_steps
    )


def stop_if_no_increase_hook(
    estimator: _EvaluatedEstimator,
    metric_name: str,
    max_steps_without_increase: int,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> SessionRunHook:
    """A hook that ends training when a metric has not grown for a number of training steps.

    Args:
        estimator: the te.Estimator being trained.
        metric_name: a key of the evaluation's results.
        max_steps_without_increase: training steps since the best evaluation from which on it stops.
        eval_dir: folder of the evaluation's events; None: `estimator.eval_dir()`.
        min_steps: evaluations of earlier steps do not count.
        run_every_secs: seconds between looks.
        run_every_steps: steps between looks; then pass `run_every_secs=None`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: not exactly one cadence is given, or a number of steps is not positive; in training, no evaluation
            has the metric.
    """
    watch = _Watch(estimator, metric_name, eval_dir, min_steps)
    check_cadence(max_steps_without_increase=max_steps_without_increase)
    return make_early_stopping_hook(
        estimator,
        lambda: watch.stalled(operator.gt, "increase", max_steps_without_increase),
        run_every_secs,
        run_every_steps,
    )


def stop_if_no_decrease_hook(
    estimator: _EvaluatedEstimator,
    metric_name: str,
    max_steps_without_decrease: int,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> SessionRunHook:
    """A hook that ends training when a metric has not fallen for a number of training steps.

    Arguments are those of `stop_if_no_increase_hook`.
    """
    watch = _Watch(estimator, metric_name, eval_dir, min_steps)
    check_cadence(max_steps_without_decrease=max_steps_without_decrease)
    return make_early_stopping_hook(
        estimator,
        lambda: watch.stalled(operator.lt, "decrease", max_steps_without_decrease),
        run_every_secs,
        run_every_steps,
    )


class _Watch:
    """One metric of the evaluations in a folder."""

    def __init__(self, estimator: _EvaluatedEstimator, metric_name: str, eval_dir: str | None, min_steps: int) -> None:
        _check_estimator(estimator)
        if not isinstance(metric_name, str):
            raise TypeError(f"`metric_name` must be a string. Received: {metric_name!r}.")
        self._folder = eval_dir or estimator.eval_dir()
        self._reader = ScalarReader(self._folder)
        self._metric_name = metric_name
        self._min_steps = min_steps
        self._has_warned = False

    def passed(self, compare: Callable[[float, float], bool], side: str, threshold: float) -> bool:
        for step, value in self._values():
            if compare(value, threshold):
                LOG.info("At step %d the metric %r is %g, %s %g.", step, self._metric_name, value, side, threshold)
                return True
        return False

    def stalled(self, better: Callable[[float, float], bool], change: str, max_steps: int) -> bool:
        best: tuple[int, float] | None = None
        for step, value in self._values():
            # NaN compares as no better and no worse, and would stay the best for ever.
            if best is None or better(value, best[1]) or (math.isnan(best[1]) and not math.isnan(value)):
                best = (step, value)
            if step - best[0] >= max_steps:
                LOG.info("The metric %r shows no %s for %d steps.", self._metric_name, change, step - best[0])
                return True
        return False

    def _values(self) -> Iterator[tuple[int, float]]:
        evaluations = self._reader.poll()
        if not evaluations:
            self._warn_of_others()
            return
        if all(self._metric_name not in scalars for scalars in evaluations.values()):
            names = sorted({name for scalars in evaluations.values() for name in scalars})
            raise ValueError(
                f"`metric_name` must be a metric of the evaluations in {self._folder}, which have {names}. "
                f"Received: {self._metric_name!r}."
            )
        for step, scalars in evaluations.items():
            if step >= self._min_steps and self._metric_name in scalars:
                yield step, scalars[self._metric_name]

    def _warn_of_others(self) -> None:
        """Tells those who watch the unnamed evaluation while only named ones take place."""
        folder = Path(self._folder)
        others = (
            [] if self._has_warned else sorted(other.name for other in folder.parent.glob("eval*") if other.is_dir())
        )
        if others and folder.name not in others:
            self._has_warned = True
            LOG.warning(
                "Early stopping finds no evaluation in %s; there are %s beside it. For a named evaluation pass "
                'eval_dir=estimator.eval_dir("name").',
                folder,
                others,
            )


def _check_estimator(estimator: Any) -> None:
    if not callable(getattr(estimator, "eval_dir", None)):
        raise TypeError(f"`estimator` must be a te.Estimator. Received: {estimator!r}.")


def _check_number(argument: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{argument}` must be a number. Received: {value!r}.")
