"""Running two long reads or writes at once."""

from collections.abc import Callable
from concurrent.futures import as_completed
from threading import Event
from typing import TypeVar

from torchestimator.checkpoint.worker import Worker

Result = TypeVar("Result")


class StoppedError(RuntimeError):
    """A job gave up half-way because another one failed or the user pressed Ctrl-C."""


def check_going_on(stop: Event | None) -> None:
    """Raises `StoppedError` once `stop` is set; long jobs call it between chunks."""
    if stop is not None and stop.is_set():
        raise StoppedError("stopped half-way: a job beside this one failed or was interrupted")


def run_together(*jobs: Callable[[Event], Result]) -> list[Result]:
    """Runs each job in a thread of its own and returns their results in order.

    When a job fails, or Ctrl-C arrives, the others stop at their next chunk instead of running to their end, and the
    first error is raised when all have stopped.

    Args:
        jobs: Functions that are given the event to watch with `check_going_on`.
    """
    stop = Event()
    workers = [Worker("checkpoint-file") for _ in jobs]
    try:
        futures = [worker.submit(job, stop) for worker, job in zip(workers, jobs, strict=True)]
        for future in as_completed(futures):
            future.result()
    finally:
        stop.set()
        for worker in workers:
            worker.close()
    return [future.result() for future in futures]
