"""A contender as the harness sees it: a process that is asked for some steps and answers what one of them took."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
_LOG_LINES = 15
_MOST_SECS = 60
_LEAST_ROUNDS = 3
_UNSTEADY = 1.5


@dataclass(frozen=True)
class Contender:
    """One library, doing one task."""

    module: str
    """File in `tests/benchmarks/contenders`."""
    task: str
    """What it does: a key of that file's tasks."""
    threads: int = 1
    """Threads for arithmetic."""
    shares_core: bool = False
    """Whether all its threads have to share one core, those of its runtime and its input included."""
    environment: str | None = None
    """Folder of its virtual environment at the root of the repository; None: the harness's own."""

    @property
    def python(self) -> Path:
        """The interpreter it needs."""
        return Path(sys.executable) if self.environment is None else ROOT / self.environment / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        """Whether that interpreter exists."""
        return self.python.exists()


class Worker:
    """The running process of a contender, as a context manager.

    Args:
        contender: what to run.
        scratch: folder for everything that it writes.
    """

    def __init__(self, contender: Contender, scratch: Path) -> None:
        self._contender = contender
        self._scratch = scratch

    def __enter__(self) -> Self:
        contender = self._contender
        descriptor, self._log = tempfile.mkstemp(".log", dir=self._scratch)
        command = [contender.python, "-m", f"tests.benchmarks.contenders.{contender.module}", contender.task]
        with os.fdopen(descriptor, "w") as log, _on_one_core() if contender.shares_core else contextlib.nullcontext():
            self._process = subprocess.Popen(
                [*command, str(contender.threads)],
                cwd=ROOT,
                env=_compiled_once() | environment() | {"TMPDIR": str(self._scratch)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def go(self, count: int) -> float:
        """Has it do `count` steps; returns its answer: microseconds per step, for most tasks.

        Raises:
            RuntimeError: the process ended instead of answering.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a process that has ended is told by its answer
            print(f"go {count}", file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            last = "\n".join(Path(self._log).read_text(errors="replace").splitlines()[-_LOG_LINES:])
            raise RuntimeError(f"The contender {self._contender} ended without an answer. Its last lines:\n{last}")
        return float(answer)


def environment() -> dict[str, str]:
    """This process's environment, with compiled modules kept: what an installed package has."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _compiled_once() -> dict[str, str]:
    """Where all contenders keep what they compile; torch.compile's own choice would be the scratch folder."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(Path.home() / ".cache" / "torchestimator" / "inductor")}


def measure(
    contenders: Mapping[str, Contender], counts: Mapping[str, int], rounds: int, most_secs: float = _MOST_SECS
) -> dict[str, list[float]]:
    """Answers of each contender, in rounds: A B C A B C ...

    Args:
        contenders: by name; those whose environment is not installed are left out.
        counts: steps per round by name.
        rounds: how many rounds count, at most; one before them warms up.
        most_secs: after how many seconds of rounds there are no further ones.

    Returns:
        The answers [rounds] by name.
    """
    answers: dict[str, list[float]] = {}
    with _started(contenders) as workers:
        for name, worker in workers.items():
            worker.go(max(1, counts[name] // 10))
        deadline = time.monotonic() + most_secs
        for done in range(rounds):
            if done >= _LEAST_ROUNDS and time.monotonic() > deadline:
                break
            for name, worker in workers.items():
                answers.setdefault(name, []).append(worker.go(counts[name]))
    return answers


def ratio(ours: Sequence[float], theirs: Sequence[float], unit: str = "us") -> tuple[float, str]:
    """Median over the rounds of ours / theirs, and a note: the medians of both, and how far the rounds differ."""
    ratios = sorted(own / other for own, other in zip(ours, theirs, strict=True))
    quarter = len(ratios) // 4
    low, high = ratios[quarter], ratios[-1 - quarter]
    note = (
        f"{statistics.median(ours):,.0f} {unit} against {statistics.median(theirs):,.0f} {unit}; "
        f"{len(ratios)} rounds, half of them {low:.3g} to {high:.3g}"
    )
    return statistics.median(ratios), note if high < _UNSTEADY * low else f"{note}: too unsteady to mean anything"


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Binds processes that are started meanwhile to one of the cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def _started(contenders: Mapping[str, Contender]) -> Iterator[dict[str, Worker]]:
    with tempfile.TemporaryDirectory(prefix="torchestimator-benchmark-") as scratch, contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(Worker(contender, Path(scratch)))
            for name, contender in contenders.items()
            if contender.is_installed
        }
