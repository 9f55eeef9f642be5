"""The contenders' end of the line protocol: `go 1000` comes in on standard input, a number goes out.

The number is microseconds per step (per row, per call: whatever the task counts). Standard output belongs to the
protocol; what a library prints there goes to standard error.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_MOST_WARM_UP_STEPS = 20


class Requests:
    """Reads requests and answers them, one at a time."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def __iter__(self) -> Iterator[int]:
        """Yields how many steps are asked for, until the harness closes its end.

        Raises:
            ValueError: a line is not of the form `go 1000`.
        """
        for line in sys.stdin:
            word, _, count = line.partition(" ")
            if word != "go" or not count.strip().isdigit() or int(count) == 0:
                raise ValueError(f"A request must look like `go 1000`. Received: {line!r}.")
            yield int(count)

    def answer(self, value: float) -> None:
        """Sends a number."""
        print(f"{value:.6f}", file=self._answers)

    def serve(self, measure: Callable[[int], object]) -> None:
        """Answers each request with the microseconds that `measure(count)` takes, divided by the count."""
        for count in self:
            started = time.perf_counter()
            measure(count)
            self.answer((time.perf_counter() - started) / count * 1e6)


class Stopwatch:
    """Times pieces of a loop that belongs to somebody else and does not end: call `tick` after each of its steps.

    Between two requests the loop stands still inside `tick`, so nothing is set up anew from round to round, and what
    a library does every so many steps is part of what is measured. The first steps after a pause are not counted:
    they refill the caches. They are a tenth of those that count, and at most 20.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._counts = iter(requests)
        self._count = 0
        self._warm_up = 0
        self._done = 0

    def tick(self) -> bool:
        """Notes the end of a step; returns whether the loop is to go on."""
        if self._count:
            self._done += 1
            if self._done == self._warm_up:
                self.start()
            if self._done < self._warm_up + self._count:
                return True
            self._requests.answer(self.stop(self._count))
        self._count, self._done = next(self._counts, 0), 0
        self._warm_up = min(-(-self._count // 10), _MOST_WARM_UP_STEPS)
        return self._count > 0

    def start(self) -> None:
        """Begins to measure."""
        self._start = time.perf_counter()

    def stop(self, count: int) -> float:
        """Returns what was measured in `count` steps since `start`: microseconds of one."""
        return (time.perf_counter() - self._start) / count * 1e6


class PeakMemory(Stopwatch):
    """Measures the largest resident memory of the process during the steps, in bytes, instead of microseconds."""

    def start(self) -> None:
        """Forgets what came before, such as compiling."""
        Path("/proc/self/clear_refs").write_text("5")

    def stop(self, count: int) -> float:
        """Returns the bytes."""
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(tasks: Mapping[str, Callable[[Requests], None]], set_threads: Callable[[int], None]) -> None:
    """Runs a contender: `python -m tests.benchmarks.contenders.bare train 1` serves the task with one thread."""
    task, threads = sys.argv[1:]
    set_threads(int(threads))
    tasks[task](Requests())
