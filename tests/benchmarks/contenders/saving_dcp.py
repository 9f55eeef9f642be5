"""Saving in the background with torch.distributed.checkpoint, as its tutorial does, in a group of one process."""

import functools
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from tests.benchmarks.contenders import saving
from tests.benchmarks.contenders.requests import main


class Saver:
    """Saves through one stager that keeps the memory of its copies, where `reuses` asks for it, or the usual one."""

    def __init__(self, reuses: bool) -> None:
        # Without an accelerator there is no pinned memory, and threads of its own would not make copying faster.
        options = StagingOptions(False, False, use_async_staging=False, use_non_blocking_copy=False)
        self._stager = DefaultStager(options) if reuses else None

    def save(self, step: int, folder: Path, weights: dict[str, Tensor], slots: dict[str, Tensor]) -> Callable[[], None]:
        """Copies and returns."""
        if not dist.is_initialized():
            dist.init_process_group("gloo", init_method=f"file://{folder}/.store", rank=0, world_size=1)
        shutil.rmtree(folder / str(step - 1), ignore_errors=True)
        state = {"model": weights, "optimizer": slots, "step": step}
        writer = FileSystemWriter(folder / str(step))
        future = dcp.async_save(state, storage_writer=writer, async_stager=self._stager)
        assert isinstance(future, Future)
        return lambda: _wait(future)


def _wait(future: "Future[object]") -> None:
    future.result()


TASKS = (saving.stall, saving.written)

if __name__ == "__main__":
    main(
        {
            f"{task.__name__}{suffix}": functools.partial(task, save=Saver(reuses).save)
            for task in TASKS
            for suffix, reuses in (("", False), ("_reusing", True))
        },
        torch.set_num_threads,
    )
