"""Ctrl-C, SIGTERM and the death of a child at moments when the state is whole."""

import logging
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_LOG = logging.getLogger("torchestimator")

_STOPPING = (signal.SIGINT, signal.SIGTERM)

_ENDS_THE_PROGRAM = (None, signal.SIG_DFL, signal.default_int_handler)
"""Handlers that stand for the end of the program."""


class Interruption:
    """Turns SIGINT and SIGTERM into exceptions, but never in the middle of a step or of a save.

    While `held`, a signal is remembered and raised at `release`: the step is complete, random
    numbers and the input's position fit the weights, and an exact checkpoint can be written. A
    SIGINT after a signal is raised at once, for people who have no patience; a second SIGTERM is not,
    since launchers pass on the one that the process has got already. SIGINT raises KeyboardInterrupt,
    SIGTERM SystemExit(143).

    Where the program has a handler of its own for a signal, that is what runs, at the same moments;
    a signal that it ignores (as under nohup) stays ignored. Outside the main thread signals can't be
    caught; there this does nothing.
    """

    def __init__(self) -> None:
        self.held = False
        self._pending: dict[int, FrameType | None] = {}
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> Self:
        for number in _STOPPING:
            self._take_over(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # Whoever has set another handler meanwhile wants to keep it.
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler)
        self._previous.clear()

    @property
    def is_pending(self) -> bool:
        """Whether SIGINT or SIGTERM waits for `release`."""
        return any(number in self._pending for number in _STOPPING)

    def watch_children(self) -> None:
        """Holds back SIGCHLD likewise; called when the input is open.

        torch's DataLoader has a handler for it that raises an error when a worker has died. It may
        run between any two lines of a step, and half a step can't be saved.
        """
        if callable(signal.getsignal(signal.SIGCHLD)):
            self._take_over(signal.SIGCHLD)

    def release(self) -> None:
        """Ends a held section; raises what was remembered in it."""
        self.held = False
        if self._pending:
            pending, self._pending = self._pending, {}
            # The signals that stop come first: they may be the reason why a worker has died.
            for number in sorted(pending, key=lambda number: number not in _STOPPING):
                self._deliver(number, pending[number])

    def drop(self) -> None:
        """Ends a held section that failed; the failure takes precedence over a remembered signal."""
        self.held = False
        self._pending = {}

    def _take_over(self, number: int) -> None:
        if threading.current_thread() is not threading.main_thread() or number in self._previous:
            return
        # A handler that was not installed from Python (None) can't be put back, so it is left alone.
        if signal.getsignal(number) not in (None, signal.SIG_IGN):
            self._previous[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A forked child, such as a data loader's worker, inherits this handler but has no step to finish.
        if not self.held or os.getpid() != self._process:
            self._deliver(number, frame)
        elif number not in _STOPPING:
            self._pending[number] = frame
        elif number == signal.SIGINT and self.is_pending:
            self._deliver(number, frame)
        elif number not in self._pending:
            self._pending[number] = frame
            if self._previous.get(number) in _ENDS_THE_PROGRAM:
                name = signal.Signals(number).name
                _LOG.warning("%s: stopping after the current step; Ctrl-C then stops at once.", name)

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        handler = self._previous.get(number)
        if handler not in _ENDS_THE_PROGRAM:
            handler(number, frame)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)
