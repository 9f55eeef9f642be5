"""kill -9 at random instants: in start-up, in steps, in saves."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.drills.judge import end_faults, last_value, loss_faults
from tests.drills.plan import Entry
from tests.drills.training import Job, Trainings
from tests.drills.trial import IDENTICAL, Counts, Trial

_SPREAD_SECS = 0.8


def run(trainings: Trainings, counts: Counts) -> Iterator[Trial]:
    """Kills trainings again and again until they are done."""
    chance = random.Random(1)
    aims = iter(["saving", "any", "saving", "start-up", "any"] * counts.kills)
    left = counts.kills
    while left > 0:
        plan = trainings.plan(steps=counts.kill_steps)
        expected = trainings.undisturbed(plan)
        cases: list[str] = []
        parts: list[list[Entry]] = []
        status: int | None = None
        while len(parts) == len(cases):
            before = trainings.library.unfinished(Path(plan.folder))
            with trainings.job(plan) as job:
                strikes = len(cases) < left and _aim(job, next(aims), trainings, Path(plan.folder), chance)
                if strikes:
                    job.strike(signal.SIGKILL)
                status = job.wait()
                parts.append(job.entries())
            if strikes:
                in_save = trainings.library.unfinished(Path(plan.folder)) - before
                cases.append("saving" if in_save else _case(parts[-1]))
        left -= max(1, len(cases))
        at_end = end_faults(expected, trainings.end_of(plan, status))
        for case, faults, figures in _judged(cases, parts):
            yield Trial(case, IDENTICAL, (*faults, *at_end), figures)


def _aim(job: Job, aim: str, trainings: Trainings, folder: Path, chance: random.Random) -> bool:
    """Waits for an instant; False if the training ended before."""
    if aim == "start-up":
        job.wait(chance.uniform(0, trainings.start_secs))
        return not job.has_ended
    if job.wait_for("restored") is None:
        return False
    job.wait(chance.uniform(0, _SPREAD_SECS))
    if aim == "saving":
        seen = trainings.library.unfinished(folder)
        job.wait_until(lambda: trainings.library.unfinished(folder) - seen, 5)
        job.wait(chance.uniform(0, 0.004))
    return not job.has_ended


def _case(entries: list[Entry]) -> str:
    events = {entry.event for entry in entries}
    return "after the end" if "finished" in events else "training" if "restored" in events else "start-up"


def _judged(cases: list[str], parts: list[list[Entry]]) -> Iterator[tuple[str, list[str], dict[str, float]]]:
    """For each kill its case, its faults, and how many steps had to be taken again."""
    for index, case in enumerate(cases):
        before = [entry for part in parts[: index + 1] for entry in part]
        after = parts[index + 1]
        restored, reached = last_value(after, "restored"), last_value(before, "step")
        figures: dict[str, float] = {}
        if restored is not None and reached is not None:
            figures["steps taken again"] = max(0, reached - restored)
        yield case, loss_faults(before, after), figures
