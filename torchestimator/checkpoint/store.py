"""The checkpoints of a training: saving, finding and restoring them."""

import contextlib
import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from torch import Tensor

from torchestimator.checkpoint.contents import CheckpointContents, plan_contents
from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import FileDigest
from torchestimator.checkpoint.filesystem import create_model_dir, explain_write_errors, sync_folder
from torchestimator.checkpoint.folders import checkpoint_name, clean_up, publish, remove, stage
from torchestimator.checkpoint.group import ALONE, Group, run_on_all
from torchestimator.checkpoint.index import CheckpointIndex, IndexEntry, newest_whole, read_index, write_index
from torchestimator.checkpoint.lock import writer_lock
from torchestimator.checkpoint.manifest import Manifest, whole_manifest, write_manifest
from torchestimator.checkpoint.mismatch import shorten
from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.checkpoint.retention import adopt_survivors, retire

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
        self,
        step: int,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: dict[str, Any],
        *,
        group: Group = ALONE,
    ) -> str:
        """Saves a checkpoint, durably, and deletes those that retention no longer keeps.

        Tied tensors are stored once. Saving a step again replaces its checkpoint. Extra memory is a few buffers. In a
        job all processes call this at the same point, with one folder that all of them see: process 0 writes what all
        have, each process its parts of DTensors, and process 0 commits it all in one step.

        Args:
            step: The global step that was reached.
            model: The model's tensors by name, on any device.
            optimizer: The optimizer's tensors by name, such as `<parameter>/<slot>`.
            state: Everything else, as None, booleans, numbers, strings, lists and dicts with string keys; that of
                process 0 is saved.
            group: The processes of the job.

        Returns:
            The absolute path of the checkpoint, `model_dir/model.ckpt-<step>`.

        Raises:
            TypeError: Something cannot be stored as tensors or JSON; nothing was written.
            ValueError: Likewise, or the processes of a job differ in what they save, or the folder belongs to another
                program.
            OSError: The checkpoint could not be written, on a full disk with the bytes needed and free; nothing of it
                was left behind. In a job every process raises an error of the same kind, which names the process that
                failed.
        """
        return self.write(plan_contents(step, model, optimizer, state, group), group)

    def write(self, contents: CheckpointContents, group: Group) -> str:
        """Writes what `plan_contents` has laid out, as the second half of `save`; BackgroundSaver does so in a thread.

        Args:
            contents: This process's part of the checkpoint.
            group: The processes of the job.

        Returns:
            The absolute path of the checkpoint.

        Raises:
            OSError: As `save`.
        """
        is_chief = group.rank == 0
        with contextlib.ExitStack() as stack:
            staged = run_on_all(group, lambda: self._stage(contents, stack) if is_chief else None)[0]
            written = run_on_all(group, lambda: self._write_files(contents, staged))
            run_on_all(group, lambda: self._publish(contents, staged, written) if is_chief else None)
        return os.path.join(self.model_dir, checkpoint_name(contents.step))

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

    def load_newest_valid(self, load: Callable[[Checkpoint], Loaded], *, group: Group = ALONE) -> Loaded | None:
        """Restores the newest checkpoint that is undamaged.

        In a job all processes call this at the same point, and all restore the same checkpoint: one that any of them
        finds damaged is passed over by all.

        Args:
            load: Restores a checkpoint. It is called with the newest first; when it raises `CheckpointDamagedError`,
                again with the next older one, and must then restore everything anew. Its other errors are passed on.
                It must not wait for other processes.
            group: The processes of the job.

        Returns:
            What `load` returned, or None if there is no checkpoint.

        Raises:
            CheckpointDamagedError: There are checkpoints, and all are damaged; the message names each.
        """
        damages: dict[str, list[str]] = {}
        loaded: Loaded | None = None

        def attempt(name: str) -> dict[str, Any]:
            nonlocal loaded
            path = os.path.join(self.model_dir, name)
            manifest = whole_manifest(path)
            try:
                loaded = load(Checkpoint(path))
            except (CheckpointDamagedError, FileNotFoundError) as error:
                # Retention or a new save of the step took it away while it was being read: that is no damage.
                if not os.path.isdir(path) or whole_manifest(path) != manifest:
                    return {"loaded": False, "damage": None}
                if not isinstance(error, CheckpointDamagedError):
                    raise
                return {"loaded": False, "damage": str(error)}
            return {"loaded": True, "damage": None}

        while name := run_on_all(group, lambda: self._newest_but(damages) if group.rank == 0 else None)[0]:
            outcomes = run_on_all(group, functools.partial(attempt, name))
            if all(outcome["loaded"] for outcome in outcomes):
                return loaded
            found = list(dict.fromkeys(outcome["damage"] for outcome in outcomes if outcome["damage"] is not None))
            if found:
                damages[name] = found
            if found and group.rank == 0:
                path = os.path.join(self.model_dir, name)
                _logger.warning("Cannot restore %s, trying the next older checkpoint: %s", path, "; ".join(found))
        if damages:
            listing = "".join(f"\n  {damage}" for found in damages.values() for damage in found)
            raise CheckpointDamagedError(self.model_dir, f"none of its checkpoints can be restored:{listing}")
        return None

    def _newest_but(self, damaged: Mapping[str, object]) -> str | None:
        """The name of the folder of the newest checkpoint that is not among the damaged ones."""
        names = (os.path.basename(entry.path) for entry in read_index(self.model_dir).newest_first())
        return next((name for name in names if name not in damaged), None)

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

    def _stage(self, contents: CheckpointContents, stack: contextlib.ExitStack) -> str:
        """Makes the hidden folder in which the checkpoint is built, and returns its name.

        Until `stack` is closed other writers have to wait; then the folder is removed, unless it was published.
        """
        create_model_dir(self.model_dir)
        with explain_write_errors(self.model_dir, contents.job_bytes):
            is_alone = stack.enter_context(writer_lock(self.model_dir))
            if is_alone:
                clean_up(self.model_dir)
            # A folder of another program's is refused before anything is written.
            self._read_index()
            staged = stage(self.model_dir, checkpoint_name(contents.step))
            stack.callback(shutil.rmtree, staged, ignore_errors=True)
            return os.path.basename(staged)

    def _write_files(self, contents: CheckpointContents, staged: str) -> dict[str, Any]:
        """Writes this process's files, durably, and returns their digests' fields by name."""
        with explain_write_errors(self.model_dir, contents.job_bytes):
            digests = contents.write(os.path.join(self.model_dir, staged))
        return {name: asdict(digest) for name, digest in digests.items()}

    def _publish(self, contents: CheckpointContents, staged: str, written: Sequence[Mapping[str, Any]]) -> None:
        """Completes the staged folder, gives it its name, and lets retention have its way."""
        folder, name = os.path.join(self.model_dir, staged), checkpoint_name(contents.step)
        files = {file: FileDigest(**fields) for part in written for file, fields in part.items()}
        with explain_write_errors(self.model_dir, contents.job_bytes):
            index = self._read_index()
            saved_at = self._clock()
            write_manifest(folder, Manifest(contents.step, saved_at, files))
            sync_folder(folder)
            path = publish(folder, self.model_dir, name)
            index, doomed = retire(
                index.with_saved(IndexEntry(name, path, saved_at)),
                self._keep_max,
                self._keep_every_n_hours,
                lambda entry: whole_manifest(entry.path) is not None,
            )
            write_index(self.model_dir, index)
            for doomed_name in doomed:
                remove(self.model_dir, doomed_name)
