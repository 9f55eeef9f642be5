"""The checkpoints of a training: saving, finding and restoring them."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import digest_of
from torchestimator.checkpoint.filesystem import create_model_dir, explain_write_errors, sync_folder, write_file
from torchestimator.checkpoint.folders import checkpoint_name, clean_up, publish, remove, stage
from torchestimator.checkpoint.index import CheckpointIndex, IndexEntry, newest_whole, read_index, write_index
from torchestimator.checkpoint.json_document import encode
from torchestimator.checkpoint.lock import writer_lock
from torchestimator.checkpoint.manifest import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Manifest,
    whole_manifest,
    write_manifest,
)
from torchestimator.checkpoint.mismatch import shorten
from torchestimator.checkpoint.parallel import run_together
from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.checkpoint.retention import adopt_survivors, retire
from torchestimator.checkpoint.tensor_writer import TensorFilePlan, plan_tensor_file

Loaded = TypeVar("Loaded")

_logger = logging.getLogger(__name__)


class CheckpointStore:
    """The checkpoints in one `model_dir`.

    A checkpoint appears whole or not at all: whatever happens while one is saved (an exception, a kill, a full disk, a
    power cut), the earlier ones stay valid and the next save goes on from there. One process trains in a `model_dir`
    (`ModelDirLock`); any number may read, pin and unpin at the same time. Creating a store touches nothing.

    Args:
        model_dir: The folder of the checkpoints; created by the first save.
        keep_checkpoint_max: How many of the newest checkpoints stay; None or 0 for all.
        keep_checkpoint_every_n_hours: Besides them, one checkpoint for every so many hours stays for good.
        clock: Tells the time in seconds since 1970.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        keep_checkpoint_max: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if keep_checkpoint_max is not None and keep_checkpoint_max < 0:
            raise ValueError(
                "`keep_checkpoint_max` must be at least 0, or None to keep all checkpoints. "
                f"Received: keep_checkpoint_max={keep_checkpoint_max!r}"
            )
        if not keep_checkpoint_every_n_hours > 0:
            raise ValueError(
                "`keep_checkpoint_every_n_hours` must be greater than 0. "
                f"Received: keep_checkpoint_every_n_hours={keep_checkpoint_every_n_hours!r}"
            )
        self.model_dir = os.path.abspath(os.fspath(model_dir))
        """The absolute path of the folder."""
        self._keep_max = keep_checkpoint_max
        self._keep_every_n_hours = keep_checkpoint_every_n_hours
        self._clock = clock

    def save(
        self, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: dict[str, Any]
    ) -> str:
        """Saves a checkpoint, durably, and deletes those that retention no longer keeps.

        Tied tensors are stored once. Saving a step again replaces its checkpoint. Extra memory is a few buffers.

        Args:
            step: The global step that was reached.
            model: The model's tensors by name, on any device.
            optimizer: The optimizer's tensors by name, such as `<parameter>/<slot>`.
            state: Everything else, as None, booleans, numbers, strings, lists and dicts with string keys.

        Returns:
            The absolute path of the checkpoint, `model_dir/model.ckpt-<step>`.

        Raises:
            TypeError: Something cannot be stored as tensors or JSON; nothing was written.
            ValueError: Likewise, or the folder belongs to another program.
            OSError: The checkpoint could not be written, on a full disk with the bytes needed and free; nothing of it
                was left behind.
        """
        if type(step) is not int or step < 0:
            raise ValueError(f"`step` must be an integer of at least 0. Received: step={step!r}")
        if type(state) is not dict:
            raise TypeError(f"`state` must be a dict. Received: {state!r:.100} of type {type(state).__name__}")
        model_file = plan_tensor_file(model, "model", {"format": "pt"})
        optimizer_file = plan_tensor_file(optimizer, "optimizer", {"format": "pt"})
        state_bytes = encode(state, "state")
        create_model_dir(self.model_dir)
        num_bytes = model_file.num_bytes + optimizer_file.num_bytes + len(state_bytes)
        with explain_write_errors(self.model_dir, num_bytes), writer_lock(self.model_dir) as is_alone:
            if is_alone:
                clean_up(self.model_dir)
            index = self._read_index()
            saved_at = self._clock()
            path = self._write(step, saved_at, model_file, optimizer_file, state_bytes)
            index = index.with_saved(IndexEntry(checkpoint_name(step), path, saved_at))
            index, doomed = retire(
                index, self._keep_max, self._keep_every_n_hours, lambda entry: whole_manifest(entry.path) is not None
            )
            write_index(self.model_dir, index)
            for name in doomed:
                remove(self.model_dir, name)
        return path

    def latest(self) -> str | None:
        """The newest checkpoint, as an absolute path, or None.

        Damaged ones are passed over with a warning, as far as missing files and wrong sizes tell; contents are checked
        when they are loaded.
        """
        return newest_whole(self.model_dir)

    def all(self) -> list[str]:
        """The absolute paths of all checkpoints in the order of saving, oldest first, damaged ones included."""
        return [entry.path for entry in read_index(self.model_dir).entries]

    def pin(self, label: str, checkpoint: str) -> None:
        """Labels a checkpoint and keeps it from being deleted while it has the label.

        Args:
            label: The label, such as "best"; it leaves the checkpoint that had it before.
            checkpoint: The checkpoint's name or path.

        Raises:
            ValueError: There is no such checkpoint in this `model_dir`.
        """
        path = os.path.abspath(os.path.join(self.model_dir, checkpoint))
        with self._locked_index() as index:
            names = [entry.name for entry in index.entries]
            name = os.path.basename(path)
            if name not in names or os.path.dirname(path) != self.model_dir:
                raise ValueError(
                    f"`checkpoint` must be a checkpoint in {self.model_dir}, which has {shorten(names) or 'none'}. "
                    f"Received: checkpoint={checkpoint!r}"
                )
            write_index(self.model_dir, replace(index, pinned={**index.pinned, label: name}))

    def unpin(self, label: str) -> None:
        """Takes a label away; its checkpoint is deleted when retention next finds it too old. No error without one."""
        with self._locked_index() as index:
            if label in index.pinned:
                pinned = {other: name for other, name in index.pinned.items() if other != label}
                write_index(self.model_dir, replace(index, pinned=pinned))

    def pinned(self, label: str) -> str | None:
        """The absolute path of the checkpoint with a label, or None."""
        index = read_index(self.model_dir)
        name = index.pinned.get(label)
        return next((entry.path for entry in index.entries if entry.name == name), None)

    def load_newest_valid(self, load: Callable[[Checkpoint], Loaded]) -> Loaded | None:
        """Restores the newest checkpoint that is undamaged.

        Args:
            load: Restores a checkpoint. It is called with the newest first; when it raises `CheckpointDamagedError`,
                again with the next older one, and must then restore everything anew. Its other errors are passed on.

        Returns:
            What `load` returned, or None if there is no checkpoint.

        Raises:
            CheckpointDamagedError: There are checkpoints, and all are damaged; the message names each.
        """
        damages: dict[str, CheckpointDamagedError] = {}
        while True:
            entries = read_index(self.model_dir).newest_first()
            path = next((entry.path for entry in entries if entry.path not in damages), None)
            if path is None:
                break
            manifest = whole_manifest(path)
            try:
                return load(Checkpoint(path))
            except (CheckpointDamagedError, FileNotFoundError) as error:
                # Retention or a new save of the step took it away while it was being read: that is no damage.
                if not os.path.isdir(path) or whole_manifest(path) != manifest:
                    continue
                if not isinstance(error, CheckpointDamagedError):
                    raise
                _logger.warning("Cannot restore %s, trying the next older checkpoint: %s", path, error)
                damages[path] = error
        if damages:
            listing = "".join(f"\n  {error}" for error in damages.values())
            raise CheckpointDamagedError(self.model_dir, f"none of its checkpoints can be restored:{listing}")
        return None

    @contextlib.contextmanager
    def _locked_index(self) -> Iterator[CheckpointIndex]:
        """The index, which nobody else changes meanwhile."""
        if os.path.isdir(self.model_dir):
            with writer_lock(self.model_dir):
                yield self._read_index()
        else:
            yield CheckpointIndex()

    def _read_index(self) -> CheckpointIndex:
        return adopt_survivors(read_index(self.model_dir), self._keep_max)

    def _write(self, step: int, saved_at: float, model: TensorFilePlan, optimizer: TensorFilePlan, state: bytes) -> str:
        """Writes a checkpoint's files under a hidden name, and gives them their name when all are on disk."""
        name = checkpoint_name(step)
        staged = stage(self.model_dir, name)
        try:
            write_file(os.path.join(staged, STATE_FILE), state)
            model_digest, optimizer_digest = run_together(
                lambda stop: model.write(os.path.join(staged, MODEL_FILE), stop),
                lambda stop: optimizer.write(os.path.join(staged, OPTIMIZER_FILE), stop),
            )
            files = {MODEL_FILE: model_digest, OPTIMIZER_FILE: optimizer_digest, STATE_FILE: digest_of(state)}
            write_manifest(staged, Manifest(step, saved_at, files))
            sync_folder(staged)
            return publish(staged, self.model_dir, name)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
