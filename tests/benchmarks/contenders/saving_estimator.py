"""Saving in the background with this package."""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tests.benchmarks.contenders import saving
from tests.benchmarks.contenders.requests import main
from torchestimator.checkpoint import BackgroundSaver, CheckpointStore


class Saver:
    """One saver for all saves, as a training has."""

    def __init__(self) -> None:
        self._saver: BackgroundSaver | None = None

    def save(self, step: int, folder: Path, weights: dict[str, Tensor], slots: dict[str, Tensor]) -> Callable[[], None]:
        """Copies and returns."""
        if self._saver is None:
            self._saver = BackgroundSaver(CheckpointStore(folder, keep_checkpoint_max=1))
        self._saver.save(step, weights, slots, {"step": step})
        return self._saver.wait


TASKS = (saving.stall, saving.written)

if __name__ == "__main__":
    main({task.__name__: functools.partial(task, save=Saver().save) for task in TASKS}, torch.set_num_threads)
