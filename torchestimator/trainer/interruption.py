"""Ctrl-C and SIGTERM at moments when the state is whole."""

import logging
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

_LOG = logging.getLogger("torchestimator")


class Interruption:
    """Turns SIGINT and SIGTERM into exceptions, but never in the middle of a step or of a save.

    While `held`, a signal is remembered and raised at `release`: the step is complete, random
    numbers and the input's position fit the weights, and an exact checkpoint can be written. A
    second signal is raised at once. SIGINT raises KeyboardInterrupt, SIGTERM SystemExit(143).

    Outside the main thread signals can't be caught; there this does nothing.
    """

    def __init__(self) -> None:
        self.held = False
        self._pending: BaseException | None = None
        self._previous: dict[int, object] = {}
        self._process = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A handler that was not installed from Python can't be put back, so it is left alone.
                if signal.getsignal(number) is not None:
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def release(self) -> None:
        """Ends a held section; raises what was remembered in it."""
        self.held = False
        if self._pending is not None:
            error, self._pending = self._pending, None
            raise error

    def drop(self) -> None:
        """Ends a held section that failed; the failure takes precedence over a remembered signal."""
        self.held = False
        self._pending = None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        # A forked child, such as a data loader's worker, inherits this handler but has no step to finish.
        if not self.held or self._pending is not None or os.getpid() != self._process:
            raise error
        self._pending = error
        _LOG.warning("%s: stopping after the current step; once more stops at once.", signal.Signals(number).name)
