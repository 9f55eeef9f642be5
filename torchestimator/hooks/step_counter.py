"""StepCounterHook: how fast training goes."""

from torchestimator.hooks.hook import SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import SecondOrStepTimer, check_cadence
from torchestimator.log import LOG
from torchestimator.summary.writer import SummarySink, event_writer

NOTABLE_WAIT = 0.1
"""Share of time spent waiting for input from which on the log line says so."""


class StepCounterHook(SessionRunHook):
    """Logs `global_step/sec` and writes it as a summary.

    Where more than a tenth of the time went into waiting for input, the line says how much.

    Args:
        every_n_steps: steps between lines.
        every_n_secs: seconds between lines; then `every_n_steps` must be None.
        output_dir: where the summary goes; None: no summary.
        summary_writer: the writer to use instead of one for `output_dir`.
        log: whether to log lines, or only write summaries.

    Raises:
        ValueError: not exactly one cadence is given, or it is out of range.
        TypeError: the cadence is not a number.
    """

    def __init__(
        self,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: SummarySink | None = None,
        *,
        log: bool = True,
    ) -> None:
        check_cadence(every_n_steps=every_n_steps, every_n_secs=every_n_secs)
        self._timer = SecondOrStepTimer(every_n_secs, every_n_steps)
        self._output_dir = output_dir
        self._given_writer = summary_writer
        self._log = log

    def begin(self) -> None:
        """Opens the writer and starts counting anew."""
        self._writer = self._given_writer
        if self._writer is None and self._output_dir:
            self._writer = event_writer(self._output_dir)
        self._timer.reset()
        self._waited = 0.0

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Reports where it is due."""
        step = run_context.global_step
        if not self._timer.should_trigger_for_step(step):
            return
        elapsed, steps = self._timer.update_last_triggered_step(step)
        waited, self._waited = self._waited, run_context.session.input_wait_secs
        if not elapsed or steps is None:
            return
        rate = steps / elapsed
        share = (self._waited - waited) / elapsed
        if self._log:
            wait = f", {share:.0%} of the time waiting for input" if share > NOTABLE_WAIT else ""
            LOG.info("global_step/sec: %g%s", rate, wait)
        if self._writer is not None:
            self._writer.scalars({"global_step/sec": rate, "input_wait": share}, step)
