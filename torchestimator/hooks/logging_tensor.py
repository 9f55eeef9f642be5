"""LoggingTensorHook: values in the log, at a cadence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from torchestimator.hooks.hook import Session, SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import SecondOrStepTimer
from torchestimator.log import LOG


class LoggingTensorHook(SessionRunHook):
    """Logs named values: `loss = 0.21, step = 100 (0.038 sec)`.

    Args:
        tensors: names, or a dict from what the line calls them to names. A dict is shown in the
            order of its keys' names, a list as given.
        every_n_iter: steps between lines; the first step is logged.
        every_n_secs: seconds between lines.
        at_end: log (only, or also) at the end, the values of the last step.
        formatter: makes the line from a dict of values.

    Raises:
        ValueError: no cadence, or two.
        TypeError: a value is not a name.
    """

    def __init__(
        self,
        tensors: Mapping[str, str] | Sequence[str],
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[dict[str, Any]], str] | None = None,
    ) -> None:
        if (every_n_iter is not None and every_n_secs is not None) or (
            every_n_iter is None and every_n_secs is None and not at_end
        ):
            raise ValueError(
                "One of `every_n_iter` and `every_n_secs` must be given, or `at_end=True`. "
                f"Received: every_n_iter={every_n_iter}, every_n_secs={every_n_secs}, at_end={at_end}."
            )
        if every_n_iter is not None and every_n_iter < 1:
            raise ValueError(f"`every_n_iter` must be positive. Received: {every_n_iter}.")
        if isinstance(tensors, Mapping):
            self._names = {tag: tensors[tag] for tag in sorted(tensors)}
        else:
            self._names = {name: name for name in tensors}
        for name in self._names.values():
            if not isinstance(name, str):
                raise TypeError(
                    "`tensors` must hold names, since every step makes new tensors. "
                    f'Received: {type(name).__name__}. Name it in model_fn, te.identity(x, "x"), and log "x".'
                )
        self._formatter = formatter
        self._at_end = at_end
        self._timer = (
            None
            if at_end and every_n_iter is None and every_n_secs is None
            else SecondOrStepTimer(every_n_secs, every_n_iter)
        )
        self._args = SessionRunArgs(self._names)

    def begin(self) -> None:
        """Starts counting anew."""
        self._iteration = 0
        self._asked = False
        if self._timer is not None:
            self._timer.reset()

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:  # noqa: ARG002
        """Asks for the values where a line is due."""
        self._asked = self._timer is not None and self._timer.should_trigger_for_step(self._iteration)
        return self._args if self._asked else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Logs them."""
        if self._asked and self._timer is not None:
            elapsed, _ = self._timer.update_last_triggered_step(self._iteration)
            self._log(run_values.results, elapsed)
        self._iteration += 1

    def end(self, session: Session) -> None:
        """Logs the last step's values if `at_end`."""
        if self._at_end and self._iteration:
            self._log(session.run(self._names), None)

    def _log(self, values: dict[str, Any], elapsed: float | None) -> None:
        if self._formatter is not None:
            LOG.info(self._formatter(values))
            return
        line = ", ".join(f"{tag} = {_shown(value)}" for tag, value in values.items())
        LOG.info(line if elapsed is None else f"{line} ({elapsed:.3f} sec)")


def _shown(value: Any) -> str:
    return (
        f"{value.item():.8g}"
        if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind == "f"
        else str(value)
    )
