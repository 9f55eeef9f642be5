"""How long it takes to begin: importing the package, and the way to the first step of a recipe."""

import statistics
import subprocess
import sys
import tempfile
import time

from tests.benchmarks.contender import ROOT, environment

_TIMED_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
_FIRST_STEP = "step = 0"
"""What the log says once the first step is done."""


def run(num_rounds: int = 9) -> list[tuple[str, float, str]]:
    """Measures in fresh processes; modules are compiled by a round that does not count.

    Args:
        num_rounds: how often each measurement is taken.

    Returns:
        Rows of (name, number, note).
    """
    torch_secs, our_secs = [], []
    for _ in range(num_rounds + 1):
        torch_secs.append(_import_secs("torch"))
        our_secs.append(_import_secs("torchestimator"))
    torch_secs, our_secs = torch_secs[1:], our_secs[1:]
    extra = statistics.median(own - other for own, other in zip(our_secs, torch_secs, strict=True))
    step_secs = statistics.median(_first_step_secs() for _ in range(min(num_rounds, 3)))
    return [
        ("import torchestimator", extra, f"s more than import torch ({statistics.median(torch_secs):.2f} s)"),
        ("first step of recipes/digits.py", step_secs, "s from the start of the process, imports included"),
    ]


def _import_secs(module: str) -> float:
    """Seconds of the import statement."""
    command = [sys.executable, "-c", _TIMED_IMPORT.format(module)]
    printed = subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True)
    return float(printed.stdout)


def _first_step_secs() -> float:
    """Seconds from the start of the recipe's process to the log line of its first step."""
    with tempfile.TemporaryDirectory(prefix="torchestimator-benchmark-") as folder:
        command = [sys.executable, "recipes/digits.py", "--model-dir", folder]
        started = time.perf_counter()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if _FIRST_STEP in line:
                    secs = time.perf_counter() - started
                    process.kill()
                    return secs
    raise RuntimeError(f"recipes/digits.py ended, with status {process.returncode}, before it logged {_FIRST_STEP!r}.")
