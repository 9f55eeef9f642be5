"""ProfilerHook: where the time of a step goes."""

import os
from typing import Any

import torch

from torchestimator.hooks.hook import Session, SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import SecondOrStepTimer, check_cadence
from torchestimator.log import LOG


class ProfilerHook(SessionRunHook):
    """Records single steps with torch.profiler, as `<output_dir>/timeline-<step>.json`.

    The files are Chrome traces: open them at ui.perfetto.dev or in chrome://tracing. The first step
    is never recorded, since it is not typical.

    Args:
        save_steps: steps between recordings.
        save_secs: seconds between recordings.
        output_dir: folder of the traces.
        show_dataflow: whether to record the shapes of each operation's inputs.
        show_memory: whether to record memory.

    Raises:
        ValueError: not exactly one cadence is given, or it is out of range.
        TypeError: the cadence is not a number.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str = "",
        show_dataflow: bool = True,
        show_memory: bool = False,
    ) -> None:
        check_cadence(save_steps=save_steps, save_secs=save_secs)
        self._timer = SecondOrStepTimer(save_secs, save_steps)
        self._output_dir = output_dir
        self._show_dataflow = show_dataflow
        self._show_memory = show_memory
        self._profile: Any = None

    def begin(self) -> None:
        """Starts counting anew."""
        self._timer.reset()
        # An error in the middle of a step may have left a recording open.
        self._discard()

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Starts a recording where one is due."""
        step = run_context.global_step
        if self._timer.last_triggered_step() is None:
            self._timer.update_last_triggered_step(step)
        elif self._timer.should_trigger_for_step(step + 1):
            self._profile = torch.profiler.profile(record_shapes=self._show_dataflow, profile_memory=self._show_memory)
            self._profile.start()
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Ends and writes it."""
        if self._profile is None:
            return
        profile, self._profile = self._profile, None
        profile.stop()
        step = run_context.global_step
        self._timer.update_last_triggered_step(step)
        os.makedirs(self._output_dir or ".", exist_ok=True)
        path = os.path.join(self._output_dir, f"timeline-{step}.json")
        LOG.info("Saving the timeline of step %d to %s.", step, path)
        profile.export_chrome_trace(path)

    def end(self, session: Session) -> None:  # noqa: ARG002
        """Drops the recording of a step for which there was no batch."""
        self._discard()

    def _discard(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
