"""Hooks that end a training at a step, or wait for one."""

import time
from typing import Protocol

from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.hooks.hook import Session, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import check_cadence, check_period
from torchestimator.log import LOG


class StopAtStepHook(SessionRunHook):
    """Stops after a number of steps, or at a global step.

    Args:
        num_steps: steps from where the training starts.
        last_step: global step at which to stop.

    Raises:
        ValueError: not exactly one of the two is given, or it is not positive.
        TypeError: it is not a whole number.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        check_cadence(num_steps=num_steps, last_step=last_step)
        self._num_steps = num_steps
        self._last_step = last_step

    @property
    def last_step(self) -> int | None:
        """The global step at which it stops; with `num_steps` known once the session exists."""
        return self._last_step

    def after_create_session(self, session: Session, coord: None) -> None:  # noqa: ARG002
        """Finds the last step."""
        if self._num_steps is not None:
            self._last_step = session.global_step + self._num_steps

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Stops where the last step is reached."""
        if self._last_step is not None and run_context.global_step >= self._last_step:
            run_context.request_stop()


class GlobalStepWaiterHook(SessionRunHook):
    """Starts only when training has reached a global step.

    In the original, late workers of an asynchronous cluster waited for the others. Here all
    replicas step together, so the step is either reached already (by the restored checkpoint) or
    would never be: then this raises instead of waiting for ever.

    Args:
        wait_until_step: the global step; 0 or less: no waiting.
    """

    def __init__(self, wait_until_step: int) -> None:
        self._wait_until_step = wait_until_step

    def after_create_session(self, session: Session, coord: None) -> None:  # noqa: ARG002
        """Looks whether the step is reached.

        Raises:
            RuntimeError: it is not.
        """
        if session.global_step < self._wait_until_step:
            raise RuntimeError(
                f"te.GlobalStepWaiterHook({self._wait_until_step}) waits for a step that no other process will reach: "
                f"training starts at step {session.global_step}, and all replicas step together. Remove the hook, or "
                "start from a checkpoint of a later step."
            )


class _CheckpointedEstimator(Protocol):
    @property
    def config(self) -> "_Config": ...

    def latest_checkpoint(self) -> str | None: ...


class _Config(Protocol):
    @property
    def is_chief(self) -> bool: ...


class _StopAtCheckpointStepHook(SessionRunHook):
    """Holds a process at its last step until the chief's checkpoint of that step is there."""

    def __init__(self, estimator: _CheckpointedEstimator, last_step: int, wait_secs: float) -> None:
        self._estimator = estimator
        self._last_step = last_step
        self._wait_secs = wait_secs

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        if run_context.global_step < self._last_step:
            return
        while (saved := self._saved_step()) < self._last_step:
            LOG.info("Waiting for the checkpoint of step %d; the newest is of step %d.", self._last_step, saved)
            time.sleep(self._wait_secs)
        run_context.request_stop()

    def _saved_step(self) -> int:
        latest = self._estimator.latest_checkpoint()
        return -1 if latest is None else Checkpoint(latest).step


def make_stop_at_checkpoint_step_hook(
    estimator: _CheckpointedEstimator, last_step: int, wait_after_file_check_secs: float = 30
) -> SessionRunHook:
    """A hook that ends training once the checkpoint of `last_step` exists.

    On the chief it is a StopAtStepHook; any other process stays until the chief has saved.

    Args:
        estimator: whose checkpoints count.
        last_step: the global step.
        wait_after_file_check_secs: seconds between looks at the model_dir.

    Raises:
        ValueError: `last_step` is not positive, or `wait_after_file_check_secs` is negative.
        TypeError: one of them is not a number.
    """
    check_cadence(last_step=last_step)
    check_period(wait_after_file_check_secs=wait_after_file_check_secs)
    if estimator.config.is_chief:
        return StopAtStepHook(last_step=last_step)
    return _StopAtCheckpointStepHook(estimator, last_step, wait_after_file_check_secs)
