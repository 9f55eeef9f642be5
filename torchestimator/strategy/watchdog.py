"""Watchdog: ends a process that has stopped working, and says where it stands."""

import contextlib
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

EXIT_STATUS: Final = 124
"""The exit status of a process that a watchdog has ended; `timeout` of the GNU tools has the same."""

_LEAST_PAUSE_SECS = 0.05
_LONGEST_PAUSE_SECS = 5.0

_LAST_WORDS_SECS = 20.0
"""For writing the report: a file system that hangs may be the very reason."""


class Watchdog:
    """Ends the process when nothing has happened for a while, as a context manager that may be nested.

    A process that waits for ever (for another one in a collective, for a reader's worker, for a file system) looks
    as if it were at work, and a cluster pays for it until someone looks. A daemon thread waits for `beat`s. Without
    any for `secs` seconds it writes one line and the Python stacks of all threads to standard error and to the file
    `watchdog-rank<r>.txt`, and ends the process with status 124, whatever its other threads do. Should one of them
    hold the interpreter's lock, so that no other runs, a thread of Python's faulthandler does the same after twice
    the time, to standard error only and with status 1.

    Time in which the whole process stands still (stopped by a signal, a machine asleep) does not count.

    Args:
        secs: how long it waits for a beat. None or infinity: it does nothing at all.
        folder: where the file goes, usually the model_dir.
        rank: index of this process.
    """

    def __init__(self, secs: float | None, folder: str | os.PathLike[str], rank: int = 0) -> None:
        self.waits_for = "a step"
        """What is under way, for the line; may be set at any time."""
        self._secs = math.inf if secs is None else secs
        self._path = os.path.join(os.fspath(folder), f"watchdog-rank{rank}.txt")
        self._rank = rank
        self._alive = False
        self._num_paused = 0
        self._num_entered = 0
        self._stop: threading.Event | None = None

    def __enter__(self) -> Self:
        self._num_entered += 1
        if self._secs < math.inf and self._num_entered == 1:
            self._alive = True
            self._stop = threading.Event()
            self._arm(self._stop)
            threading.Thread(target=self._watch, args=(self._stop,), name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._num_entered -= 1
        if self._stop is not None and not self._num_entered:
            self._stop.set()
            self._stop = None
            faulthandler.cancel_dump_traceback_later()

    def beat(self) -> None:
        """Tells that the process works. Costs no more than setting an attribute."""
        self._alive = True

    @property
    def is_on(self) -> bool:
        """Whether it ends anything at all."""
        return self._secs < math.inf

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Does not count the time in here, for work that takes as long as it takes."""
        self._num_paused += 1
        if self._stop is not None:
            faulthandler.cancel_dump_traceback_later()
        try:
            yield
        finally:
            self._alive = True
            self._num_paused -= 1
            if self._stop is not None:
                self._arm(self._stop)

    def _watch(self, stop: threading.Event) -> None:
        pause = min(max(self._secs / 20, _LEAST_PAUSE_SECS), _LONGEST_PAUSE_SECS)
        waited = 0.0
        looked = time.monotonic()
        while not stop.wait(pause):
            now = time.monotonic()
            waited += min(now - looked, 2 * pause)
            looked = now
            if self._alive or self._num_paused:
                self._alive = False
                waited = 0.0
            if waited >= self._secs:
                self._end()
            self._arm(stop)

    def _arm(self, stop: threading.Event) -> None:
        """Puts off the end by faulthandler's thread, which works where this class's own can't."""
        if not self._num_paused and not stop.is_set():
            faulthandler.dump_traceback_later(2 * self._secs, exit=True, file=_standard_error())
            # The main thread may have come to a pause, or to the end of the watch, meanwhile.
            if self._num_paused or stop.is_set():
                faulthandler.cancel_dump_traceback_later()

    def _end(self) -> None:
        faulthandler.dump_traceback_later(_LAST_WORDS_SECS, exit=True, file=_standard_error())
        line = (
            f"Watchdog: process {self._rank} (pid {os.getpid()}) has waited {self._secs:g} seconds "
            f"(`watchdog_secs`) for {self.waits_for}, in vain. The stacks of its threads, and the end:"
        )
        with contextlib.suppress(OSError, ValueError):
            _write(_standard_error(), line)
        with contextlib.suppress(OSError), open(self._path, "w", encoding="utf-8") as file:
            _write(file.fileno(), f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}")
        os._exit(EXIT_STATUS)


def _write(descriptor: int, line: str) -> None:
    # Straight to the descriptor: a thread that hangs may hold the lock of a file object.
    os.write(descriptor, f"{line}\n".encode())
    faulthandler.dump_traceback(descriptor, all_threads=True)


def _standard_error() -> int:
    for stream in (sys.stderr, sys.__stderr__):
        descriptor: Any = getattr(stream, "fileno", None)
        with contextlib.suppress(OSError, ValueError, TypeError):
            return int(descriptor())
    return 2
