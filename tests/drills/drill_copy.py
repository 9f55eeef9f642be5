"""A folder copied while a training writes checkpoints into it."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.drills.judge import end_faults, last_value
from tests.drills.training import Trainings
from tests.drills.trial import IDENTICAL, NOTHING, Counts, Trial

_PAUSE_SECS = 0.1
_DAMAGED = "none of its checkpoints can be restored"


def run(trainings: Trainings, counts: Counts) -> Iterator[Trial]:
    """Copies by `cp -r` and by `shutil.copytree` in turn, opens all copies, and trains on from some."""
    copies: list[tuple[Path, str]] = []
    while len(copies) < counts.copies:
        taken = _copy_while_training(trainings, counts.copies - len(copies), counts.kill_steps)
        if not taken:
            raise RuntimeError("The training ended before a copy was taken")
        copies += taken
    found = trainings.library.open_folders([path for path, _ in copies])
    for (_, case), step in zip(copies, found, strict=True):
        if isinstance(step, int) and step >= 0:
            yield Trial(case, "a valid checkpoint")
        elif step == -1:
            yield Trial(case, NOTHING)
        else:
            # All that the copy has may have been deleted while it was made: then it has to be said of each.
            yield Trial(case, NOTHING, () if _DAMAGED in str(step) else (str(step),))
    expected = trainings.undisturbed(trainings.plan(steps=counts.kill_steps)) if counts.resumed_copies else {}
    for path, _ in copies[:: max(1, len(copies) // max(1, counts.resumed_copies))][: counts.resumed_copies]:
        plan = trainings.plan(path, steps=counts.kill_steps)
        status, _, entries = trainings.run(plan)
        figures = {"step it went on from": last_value(entries, "restored") or 0}
        yield Trial("trained on", IDENTICAL, tuple(end_faults(expected, trainings.end_of(plan, status))), figures)


def _copy_while_training(trainings: Trainings, num_copies: int, steps: int) -> list[tuple[Path, str]]:
    chance = random.Random(4)
    plan = trainings.plan(steps=steps)
    source = Path(plan.folder)
    copies: list[tuple[Path, str]] = []
    with trainings.job(plan) as job:
        job.wait_for("restored")
        while len(copies) < num_copies and not job.has_ended:
            time.sleep(chance.uniform(0, _PAUSE_SECS))
            target = source.with_name(f"copy-{len(copies)}")
            case = _copy(source, target, len(copies) % 2 == 0)
            copies.append((target, case))
    return copies


def _copy(source: Path, target: Path, by_command: bool) -> str:
    """Copies a folder; that files vanish meanwhile is what is wanted."""
    if by_command:
        subprocess.run(["cp", "-r", source, target], check=False, capture_output=True)
        return "cp -r"
    try:
        shutil.copytree(source, target)
    except shutil.Error:
        return "copytree, with files that vanished"
    return "copytree"
