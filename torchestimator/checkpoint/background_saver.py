"""Saving checkpoints in the background, while training goes on."""

import os
import secrets
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from torch import Tensor

from torchestimator.checkpoint.contents import CheckpointContents, plan_contents
from torchestimator.checkpoint.filesystem import create_model_dir
from torchestimator.checkpoint.folder_group import FolderGroup, close_exchange, open_exchange
from torchestimator.checkpoint.folders import checkpoint_name
from torchestimator.checkpoint.group import ALONE, Group, run_on_all
from torchestimator.checkpoint.snapshot import SnapshotMemory
from torchestimator.checkpoint.store import CheckpointStore
from torchestimator.checkpoint.worker import Worker


class BackgroundSaver:
    """Saves checkpoints of a training that waits only until its state is copied.

    One checkpoint is written at a time, so host memory for one copy of what this process writes is all that is needed;
    a save that comes while the last one is still being written waits for it. What is on disk is what
    `CheckpointStore.save` would have written, and commits as it does: a kill at any instant leaves the checkpoints
    before it. A process that ends without `close` ends when the write has.

    In a job, every process makes one and calls `save`, `wait` and `close` at the same points. The threads that write
    talk to each other through small files in the folder, never through the training's channel.

    Args:
        store: Where to save.
        group: The processes of the job.
        timeout_secs: How many seconds the writing threads of a job wait for each other. A process that has died shows
            after this time only, so it should be longer than a write may take, and not much.
    """

    def __init__(self, store: CheckpointStore, *, group: Group = ALONE, timeout_secs: float = 600.0) -> None:
        if not timeout_secs > 0:
            raise ValueError(f"`timeout_secs` must be greater than 0. Received: timeout_secs={timeout_secs!r}")
        self._store = store
        self._group = group
        self._timeout_secs = timeout_secs
        self._memory = SnapshotMemory()
        self._writing: Future[str] | None = None
        self.failed = False
        """Whether a write has failed and its error is yet to be raised; in a job, the processes learn it at different
        times."""

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written at this moment."""
        return self._writing is not None and not self._writing.done()

    def save(
        self, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: dict[str, Any]
    ) -> str:
        """Copies the state and returns; a thread writes it.

        Args:
            step: The global step that was reached.
            model: The model's tensors by name, as for `CheckpointStore.save`.
            optimizer: The optimizer's tensors by name.
            state: Everything else.

        Returns:
            The absolute path that the checkpoint will have when it is complete.

        Raises:
            TypeError: Something cannot be stored as tensors or JSON.
            ValueError: Likewise, or the processes of a job differ in what they save.
            OSError: The checkpoint before this one could not be written, and nothing is saved now.
        """
        self.wait()
        contents = plan_contents(step, model, optimizer, state, self._group)
        copies: list[CheckpointContents] = []

        def copy() -> str:
            copies.append(self._memory.take(contents))
            if self._group.rank == 0 and self._group.num_replicas > 1:
                create_model_dir(self._store.model_dir)
                open_exchange(self._store.model_dir)
            return secrets.token_hex(4)

        token = run_on_all(self._group, copy)[0]
        worker = Worker("checkpoint-writer")
        self._writing = worker.submit(self._write, copies[0], self._channel(token))
        worker.finish()
        return os.path.join(self._store.model_dir, checkpoint_name(step))

    def check(self) -> None:
        """Raises the error of a write that has failed; costs as little as a look at `failed`.

        A single process may call it after each step. In a job the processes would raise it at different steps: let
        them agree on whether any has `failed`, and all call `wait`.

        Raises:
            OSError: The checkpoint could not be written.
        """
        if self.failed:
            self.wait()

    def wait(self) -> None:
        """Returns when nothing is being written any more.

        Raises:
            OSError: The last checkpoint could not be written. In a job every process raises an error, which names the
                process that failed.
        """
        if self._writing is None:
            return
        error = self._writing.exception()
        self._writing, self.failed = None, False
        messages = self._group.exchange(None if error is None else str(error))
        if self._group.rank == 0 and self._group.num_replicas > 1:
            close_exchange(self._store.model_dir)
        if error is not None:
            raise error
        for rank, message in enumerate(messages):
            if message is not None:
                raise OSError(f"process {rank} of {self._group.num_replicas} failed: {message}")

    def close(self) -> None:
        """Waits as `wait` does and frees the memory. A closed saver may be used again."""
        try:
            self.wait()
        finally:
            self._memory.release()

    def _channel(self, token: str) -> Group:
        group = self._group
        if group.num_replicas == 1:
            return ALONE
        return FolderGroup(self._store.model_dir, token, group.rank, group.num_replicas, self._timeout_secs)

    def _write(self, contents: CheckpointContents, channel: Group) -> str:
        try:
            return self._store.write(contents, channel)
        except BaseException:
            self.failed = True
            raise
