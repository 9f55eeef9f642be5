"""Saving 500 MB in the background: how long training waits, against copying the state, and against others.

A stall is given as a multiple of copying the state into memory that is at hand: what no consistent snapshot can do
without.
"""

import statistics

from tests.benchmarks.contender import Contender, measure, ratio

_SAVES = 3


def run(num_rounds: int = 5) -> list[tuple[str, float, str]]:
    """Measures with two threads, each contender in a process of its own.

    Args:
        num_rounds: how often each contender is asked for three saves.

    Returns:
        Rows of (name, ratio or number, note).
    """
    rows = []
    stalls = measure(_contenders("stall"), dict.fromkeys(_contenders("stall"), _SAVES), num_rounds, most_secs=240)
    for name, multiples in stalls.items():
        note = f"{len(multiples)} rounds, {min(multiples):.3g} to {max(multiples):.3g}"
        rows.append((f"background save, stall against the copy{_suffix(name)}", statistics.median(multiples), note))
    ours = stalls.pop("ours")
    rows += [
        (f"background save, stall against {name}", *ratio(ours, theirs, "copies")) for name, theirs in stalls.items()
    ]
    written = measure(_contenders("written"), dict.fromkeys(_contenders("written"), 1), num_rounds, most_secs=120)
    for name, secs in written.items():
        note = f"seconds from the call to the end of the write, {min(secs):.3g} to {max(secs):.3g}"
        rows.append((f"background save, written after{_suffix(name)}", statistics.median(secs), note))
    return rows


def _contenders(task: str) -> dict[str, Contender]:
    return {
        "ours": Contender("saving_estimator", task, 2),
        "DCP's async_save": Contender("saving_dcp", task, 2),
        "DCP's async_save, reusing its memory": Contender("saving_dcp", f"{task}_reusing", 2),
        "Lightning's AsyncCheckpointIO": Contender("saving_lightning", task, 2, environment=".venv-lightning"),
    }


def _suffix(name: str) -> str:
    return "" if name == "ours" else f", {name}"
