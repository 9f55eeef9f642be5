"""Saving in the background with Lightning's AsyncCheckpointIO."""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from torch import Tensor

from tests.benchmarks.contenders import saving
from tests.benchmarks.contenders.requests import main


def save(step: int, folder: Path, weights: dict[str, Tensor], slots: dict[str, Tensor]) -> Callable[[], None]:
    """Copies and returns; waiting is what the Trainer does at its end."""
    checkpoints = AsyncCheckpointIO(TorchCheckpointIO())
    checkpoints.save_checkpoint({"model": weights, "optimizer": slots, "step": step}, str(folder / "checkpoint.ckpt"))
    return checkpoints.teardown


TASKS = (saving.stall, saving.written)

if __name__ == "__main__":
    main({task.__name__: functools.partial(task, save=save) for task in TASKS}, torch.set_num_threads)
