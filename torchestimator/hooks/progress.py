"""ProgressBarHook: how far training is, on a terminal."""

import logging
import os
import sys
import time
from typing import Any, TextIO

from torchestimator.hooks.hook import Session, SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.stop import StopAtStepHook
from torchestimator.log import LOG, TERMINAL

_REDRAW_SECS = 0.2
_LOSS = SessionRunArgs("loss")


class ProgressBarHook(SessionRunHook):
    """Draws a bar with steps per second, loss and remaining time on standard error.

    While it is drawn, log lines that go to the terminal appear above it, whether the program has
    configured logging itself or not.

    Args:
        stop: the hook that ends the training, which knows the last step; None: the end is unknown.
        loss_every_n_steps: how often the loss is read from the device; None: never.
    """

    def __init__(self, stop: StopAtStepHook | None, loss_every_n_steps: int | None) -> None:
        self._stop = stop
        self._every = loss_every_n_steps
        self._bar: Any = None
        self._redirected: list[tuple[Any, TextIO]] = []

    def after_create_session(self, session: Session, coord: None) -> None:  # noqa: ARG002
        """Draws the empty bar."""
        from tqdm import tqdm

        total = None if self._stop is None else self._stop.last_step
        self._bar = tqdm(
            total=total, initial=session.global_step, unit="step", desc="train", file=sys.stderr, dynamic_ncols=True
        )
        self._next_draw = 0.0
        self._count = 0
        TERMINAL.stream = _AboveBars(sys.stderr)
        for handler in (*logging.getLogger().handlers, *LOG.handlers):
            stream = getattr(handler, "stream", None)
            if isinstance(handler, logging.StreamHandler) and stream in (sys.stdout, sys.stderr):
                handler.setStream(_AboveBars(stream))
                self._redirected.append((handler, stream))

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:  # noqa: ARG002
        """Asks for the loss at its cadence."""
        due = self._every is not None and self._count % self._every == 0
        self._count += 1
        return _LOSS if due else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Moves the bar, at most five times a second."""
        if run_values.results is not None:
            self._bar.set_postfix(loss=f"{run_values.results:.4g}", refresh=False)
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
            TERMINAL.stream = None
            for handler, stream in self._redirected:
                handler.setStream(stream)
            self._redirected.clear()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a bar can be drawn on that stream: a terminal, and one that can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class _AboveBars:
    """A stream that takes the bars off the terminal while it writes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(text, file=self._stream, end="")

    def flush(self) -> None:
        self._stream.flush()
