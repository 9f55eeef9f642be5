"""ProgressBarHook: how far training is, on a terminal."""

import sys
import time
from typing import Any

from torchestimator.hooks.hook import Session, SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.stop import StopAtStepHook
from torchestimator.log import TERMINAL

_REDRAW_SECS = 0.2


class ProgressBarHook(SessionRunHook):
    """Draws a bar with steps per second, loss and remaining time on standard error.

    Args:
        stop: the hook that ends the training, which knows the last step; None: the end is unknown.
        loss_every_n_steps: how often the loss is read from the device; None: never.
    """

    def __init__(self, stop: StopAtStepHook | None, loss_every_n_steps: int | None) -> None:
        self._stop = stop
        self._every = loss_every_n_steps
        self._bar: Any = None
        self._next_draw = 0.0
        self._args = SessionRunArgs("loss")
        self._count = 0

    def after_create_session(self, session: Session, coord: None) -> None:  # noqa: ARG002
        """Draws the empty bar."""
        from tqdm import tqdm

        total = None if self._stop is None else self._stop.last_step
        self._bar = tqdm(
            total=total, initial=session.global_step, unit="step", desc="train", file=sys.stderr, dynamic_ncols=True
        )
        TERMINAL.write = lambda line: tqdm.write(line, file=sys.stderr)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:  # noqa: ARG002
        """Asks for the loss at its cadence."""
        due = self._every is not None and self._count % self._every == 0
        self._count += 1
        return self._args if due else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Moves the bar, at most five times a second."""
        if run_values.results is not None:
            self._bar.set_postfix(loss=f"{float(run_values.results):.4g}", refresh=False)
        now = time.monotonic()
        if now >= self._next_draw:
            self._next_draw = now + _REDRAW_SECS
            self._bar.update(run_context.global_step - self._bar.n)

    def end(self, session: Session) -> None:
        """Completes the bar."""
        self._bar.update(session.global_step - self._bar.n)
        self.close()

    def close(self) -> None:
        """Leaves the bar as it is and gives the terminal back; also called after an error."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            TERMINAL.write = None
