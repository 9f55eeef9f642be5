"""The threads that compute, so that the event loop goes on reading requests meanwhile."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class WorkerThreads:
    """Threads that take jobs from one queue.

    Args:
        count: how many; jobs beyond that wait.
    """

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"torchestimator-worker-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Hands over a job, which must not raise."""
        self._jobs.put(job)

    def close(self) -> None:
        """Waits until all jobs are done, and ends the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            job = None  # or it would keep a version alive until the next one comes
