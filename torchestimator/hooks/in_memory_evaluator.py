"""InMemoryEvaluatorHook: evaluations in the middle of a training, on the live model."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torchestimator.hooks.hook import Session, SessionRunContext, SessionRunHook, SessionRunValues, check_hooks
from torchestimator.hooks.timer import SecondOrStepTimer, check_cadence, check_period


class _LiveEstimator(Protocol):
    def evaluate_live(
        self,
        input_fn: Callable[..., Any],
        steps: int | None,
        hooks: Sequence[SessionRunHook] | None,
        name: str | None,
    ) -> dict[str, Any]: ...


class InMemoryEvaluatorHook(SessionRunHook):
    """Evaluates the weights as they are, without a checkpoint: at the start, every n steps and at the end.

    Args:
        estimator: the te.Estimator that is being trained.
        input_fn: gives the evaluation data.
        steps: batches per evaluation; None: all.
        hooks: hooks of the evaluation.
        name: of the evaluation; its summaries go to `eval_<name>`.
        every_n_iter: training steps between evaluations.

    Raises:
        ValueError: `every_n_iter` or `steps` is not positive.
        TypeError: `estimator` is not an Estimator, or `input_fn` not a function.
    """

    def __init__(
        self,
        estimator: _LiveEstimator,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        name: str | None = None,
        every_n_iter: int = 100,
    ) -> None:
        if not callable(getattr(estimator, "evaluate_live", None)):
            raise TypeError(f"`estimator` must be a te.Estimator. Received: {estimator!r}.")
        if not callable(input_fn):
            raise TypeError(f"`input_fn` must be a function that returns the data. Received: {input_fn!r}.")
        check_cadence(every_n_iter=every_n_iter)
        check_period(steps=steps)
        self._estimator = estimator
        self._input_fn = input_fn
        self._steps = steps
        self._hooks = check_hooks("hooks", hooks)
        self._name = name
        self._timer = SecondOrStepTimer(every_steps=every_n_iter)

    def after_create_session(self, session: Session, coord: None) -> None:  # noqa: ARG002
        """Evaluates the weights that training starts from."""
        self._evaluate(session)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Evaluates where it is due."""
        if self._timer.should_trigger_for_step(run_context.global_step):
            self._evaluate(run_context.session)

    def end(self, session: Session) -> None:
        """Evaluates the final weights, unless that is done."""
        if self._timer.last_triggered_step() != session.global_step:
            self._evaluate(session)

    def _evaluate(self, session: Session) -> None:
        self._timer.update_last_triggered_step(session.global_step)
        self._estimator.evaluate_live(self._input_fn, self._steps, self._hooks, self._name)
