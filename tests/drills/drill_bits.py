"""Each bit of the manifest and the index flipped in turn, and many of the state; only restoring is tried."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.drills.drill_flip import flip
from tests.drills.training import Trainings
from tests.drills.trial import ERROR, Counts, Trial

_STEPS = 32
_STATE_STRIDE = 61
"""The state is larger by far than the other two, and any of its bits is as good as another."""


def run(trainings: Trainings, counts: Counts) -> Iterator[Trial]:
    """Flips each bit in a copy, and puts it back."""
    plan = trainings.plan(steps=_STEPS)
    folder = Path(plan.folder)
    shutil.copytree(trainings.undisturbed_folder(plan), folder, dirs_exist_ok=True)
    steps = {int(path.name.rpartition("-")[2]) for path in folder.glob("model.ckpt-*")}
    for file in trainings.library.newest_files(folder):
        stride = counts.bits * {"manifest.json": 1, "checkpoint": 1}.get(file.name, _STATE_STRIDE)
        if file.suffix == ".safetensors":
            stride *= 10
        whole = file.read_bytes()
        for bit in range(0, len(whole) * 8, stride):
            flip(file, bit)
            try:
                found = trainings.library.open_folders([folder])[0]
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
                yield Trial(file.name, ERROR, (f"bit {bit}: {type(error).__name__}: {error}",))
            else:
                allowed = steps if file.name == "checkpoint" else steps - {_STEPS}
                faults = [] if found in allowed else [f"bit {bit}: restored {found}"]
                yield Trial(file.name, "an older one is used" if file.name != "checkpoint" else "used", tuple(faults))
            file.write_bytes(whole)
