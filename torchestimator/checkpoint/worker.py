"""A thread that works through jobs, also while the process is about to exit."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


class Worker:
    """Runs jobs in order in one thread, which starts with the first of them.

    concurrent.futures refuses new jobs as soon as the main thread has ended; a checkpoint that is being written then
    must be written to its end.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)
        self._is_cancelled = False

    def submit(self, job: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Queues a job and returns its future result."""
        future: Future[Result] = Future()

        def run() -> None:
            if self._is_cancelled:
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(job(*arguments))
            except BaseException as error:  # noqa: BLE001 (whoever asks for the result gets it)
                future.set_exception(error)

        self._jobs.put(run)
        if self._thread.ident is None:
            self._thread.start()
        return future

    def finish(self) -> None:
        """Lets the thread end when all that is queued is done; returns at once."""
        self._jobs.put(None)

    def close(self) -> None:
        """Drops the jobs that have not begun, and returns when the thread has ended."""
        self._is_cancelled = True
        self.finish()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
