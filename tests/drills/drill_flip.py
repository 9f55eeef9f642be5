"""A bit flipped in each file of the newest checkpoint; then training goes on."""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.drills.judge import EndState, end_faults, last_value, message_faults
from tests.drills.plan import Plan
from tests.drills.training import Trainings
from tests.drills.trial import ERROR, IDENTICAL, Counts, Trial

_STEPS = 20
_END = 32


def run(trainings: Trainings, counts: Counts) -> Iterator[Trial]:
    """Damages copies of one folder."""
    chance = random.Random(3)
    expected = trainings.undisturbed(trainings.plan(steps=_END))
    plan = trainings.plan(steps=_STEPS)
    status, log, _ = trainings.run(plan)
    if status != 0:
        raise RuntimeError(f"The training whose checkpoints are to be damaged failed:\n{log[-1000:]}")
    for file in trainings.library.newest_files(Path(plan.folder)):
        size = file.stat().st_size
        positions = [0, size - 1, *(chance.randrange(size) for _ in range(counts.flips))]
        for position in chance.sample(positions, counts.flips):
            copy = trainings.plan(steps=_END)
            shutil.copytree(plan.folder, copy.folder, dirs_exist_ok=True)
            victim = Path(copy.folder) / file.relative_to(plan.folder)
            flip(victim, position * 8 + chance.randrange(8))
            yield _trial(trainings, copy, victim, expected)


def flip(file: Path, bit: int) -> None:
    """Turns one bit of a file over."""
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def _trial(trainings: Trainings, plan: Plan, victim: Path, expected: EndState) -> Trial:
    status, log, entries = trainings.run(plan)
    restored = last_value(entries, "restored")
    name = victim.name
    names_it = re.escape(name)
    if status != 0:
        # Not going on is an answer, too, as long as it says why.
        return Trial(name, ERROR, tuple(message_faults(log, names_it)))
    faults = end_faults(expected, trainings.end_of(plan, status))
    if restored == _STEPS and name != "checkpoint":
        # Some bits mean nothing, such as those that fill up a file: no harm was done.
        return Trial(name, "no bit that matters", tuple([*faults, "taken as valid"] if faults else ()))
    # The index is no part of a checkpoint: what the folders hold counts.
    if name != "checkpoint":
        faults += message_faults(log, names_it)
    return Trial(name, IDENTICAL, tuple(faults))
