"""worker: jobs in order, in one thread, and an end that loses nothing that was begun."""

import threading

import pytest

from torchestimator.checkpoint.worker import Worker


def test_jobs_run_in_order_in_one_thread() -> None:
    worker = Worker("test-worker")
    seen: list[tuple[int, str]] = []
    futures = [
        worker.submit(lambda index=index: seen.append((index, threading.current_thread().name))) for index in range(9)
    ]
    futures[-1].result(timeout=30)
    assert seen == [(index, "test-worker") for index in range(9)]
    worker.close()


def test_an_error_belongs_to_its_job() -> None:
    worker = Worker("test-worker")
    failing, fine = worker.submit(int, "x"), worker.submit(int, "3")
    assert fine.result(timeout=30) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result()
    worker.close()


def test_closing_ends_the_running_job_and_drops_the_others() -> None:
    worker = Worker("test-worker")
    started, go_on = threading.Event(), threading.Event()

    def job() -> str:
        started.set()
        go_on.wait(30)
        return "done"

    running, waiting = worker.submit(job), worker.submit(job)
    started.wait(30)
    threading.Timer(0.05, go_on.set).start()
    worker.close()
    assert running.result() == "done"
    assert waiting.cancelled()


def test_a_finished_worker_does_what_is_queued_and_ends() -> None:
    worker = Worker("test-finishing-worker")
    futures = [worker.submit(int, str(index)) for index in range(5)]
    worker.finish()
    assert [future.result(timeout=30) for future in futures] == [0, 1, 2, 3, 4]
    for thread in threading.enumerate():
        if thread.name == "test-finishing-worker":
            thread.join(30)
            assert not thread.is_alive()


def test_closing_without_a_job_starts_nothing() -> None:
    Worker("test-worker").close()
