"""SummarySaverHook: what model_fn records with te.summary, in event files."""

from torchestimator.hooks.hook import Session, SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import SecondOrStepTimer, check_cadence
from torchestimator.summary.item import SummaryItem
from torchestimator.summary.scalars import ScalarSummary
from torchestimator.summary.writer import SummarySink, event_writer

_ARGS = SessionRunArgs("summaries")


class SummarySaverHook(SessionRunHook):
    """Writes summaries every so many steps or seconds, from the first step on.

    Only on those steps do the te.summary functions in model_fn record anything.

    Args:
        save_steps: steps between summaries.
        save_secs: seconds between summaries.
        output_dir: folder of the event file.
        summary_writer: the writer to use instead of one for `output_dir`.
        scaffold: no counterpart, must be None.
        summary_op: no counterpart, must be None: all summaries of model_fn are written.

    Raises:
        ValueError: not exactly one cadence, or one out of range; no output; an argument without meaning.
        TypeError: the cadence is not a number.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: SummarySink | None = None,
        scaffold: None = None,
        summary_op: None = None,
    ) -> None:
        if scaffold is not None or summary_op is not None:
            raise ValueError(
                "`scaffold` and `summary_op` have no meaning here: everything recorded with te.summary is written. "
                "Remove the argument."
            )
        if output_dir is None and summary_writer is None:
            raise ValueError("One of `output_dir` and `summary_writer` must be given. Received: neither.")
        check_cadence(save_steps=save_steps, save_secs=save_secs)
        self._timer = SecondOrStepTimer(save_secs, save_steps)
        self._output_dir = output_dir
        self._given_writer = summary_writer

    def begin(self) -> None:
        """Opens the writer and starts counting anew."""
        self._writer = self._given_writer or event_writer(self._output_dir or "")
        self._started = False
        self._timer.reset()

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Asks for the summaries where they are due."""
        self._asked = self._timer.should_trigger_for_step(run_context.global_step + 1)
        return _ARGS if self._asked else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Writes them."""
        if not self._asked:
            return
        step = run_context.global_step
        self._timer.update_last_triggered_step(step)
        if not self._started:
            self._writer.session_start(step)
            self._started = True
        items: list[SummaryItem] = run_values.results
        if all(item.tag != "loss" for item in items):
            items.append(ScalarSummary.of("loss", run_context.session.run("loss")))
        self._writer.write(items, step)

    def end(self, session: Session) -> None:  # noqa: ARG002
        """Flushes the file."""
        self._writer.flush()
