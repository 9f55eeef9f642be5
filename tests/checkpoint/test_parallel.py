"""parallel: two jobs at once, and how the rest ends when one fails."""

import threading

import pytest

from torchestimator.checkpoint.parallel import StoppedError, check_going_on, run_together


def test_results_come_in_the_order_of_the_jobs() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def job(result: str) -> str:
        meeting.wait()
        return result

    assert run_together(lambda stop: job("first"), lambda stop: job("second")) == ["first", "second"]


def test_a_failure_stops_the_others_and_is_the_error_that_is_raised() -> None:
    stopped = []

    def endless(stop: threading.Event) -> None:
        try:
            while True:
                check_going_on(stop)
        except StoppedError:
            stopped.append(True)
            raise

    def failing(stop: threading.Event) -> None:
        raise ZeroDivisionError("first cause")

    for jobs in ((endless, failing), (failing, endless)):
        with pytest.raises(ZeroDivisionError, match="first cause"):
            run_together(*jobs)
    assert stopped == [True, True]
