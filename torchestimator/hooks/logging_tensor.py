"""LoggingTensorHook: values in the log, at a cadence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchestimator.hooks.hook import Session, SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import SecondOrStepTimer, check_cadence
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
        ValueError: no cadence, or two, or one out of range.
        TypeError: a value is not a name, or a cadence not a number.
    """

    def __init__(
        self,
        tensors: Mapping[str, str] | Sequence[str],
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[dict[str, Any]], str] | None = None,
    ) -> None:
        has_cadence = every_n_iter is not None or every_n_secs is not None
        if has_cadence:
            check_cadence(every_n_iter=every_n_iter, every_n_secs=every_n_secs)
        elif not at_end:
            raise ValueError(
                "One of `every_n_iter` and `every_n_secs` must be given, or `at_end=True`. Received: neither."
            )
        self._names = _names_by_tag(tensors)
        self._formatter = formatter
        self._at_end = at_end
        self._timer = SecondOrStepTimer(every_n_secs, every_n_iter) if has_cadence else None
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
        if self._timer is not None and self._asked:
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
        line = ", ".join(f"{tag} = {value!s}" for tag, value in values.items())
        LOG.info(line if elapsed is None else f"{line} ({elapsed:.3f} sec)")


def _names_by_tag(tensors: Any) -> dict[str, str]:
    if isinstance(tensors, str) or not isinstance(tensors, Mapping | Sequence):
        write = f'["{tensors}"]' if isinstance(tensors, str) else '["loss"]'
        raise TypeError(f"`tensors` must be a list of names, or a dict of such. Received: {tensors!r}. Write: {write}")
    tags = sorted(tensors) if isinstance(tensors, Mapping) else tensors
    names = [tensors[tag] for tag in tags] if isinstance(tensors, Mapping) else tags
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                "`tensors` must hold names, since every step makes new tensors. "
                f'Received: {type(name).__name__}. Name it in model_fn, te.identity(x, "x"), and log "x".'
            )
    return dict(zip(tags, names, strict=True))
