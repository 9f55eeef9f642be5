"""Writing files and folders so that they outlive a crash of the process or of the machine."""

import contextlib
import errno
import os
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Event
from types import TracebackType
from typing import Self

from torchestimator.checkpoint.parallel import check_going_on
from torchestimator.checkpoint.worker import Worker

# Small enough to stay in a core's cache between writing and hashing, large enough for the cost of a call not to count.
CHUNK_BYTES = 4 << 20

# A page cache full of unwritten data makes the last fsync slow; with this much pending the disk is set to work.
_FLUSH_BYTES = 32 << 20

# What file systems that cannot flush a folder, or do not let us open it, answer; their renames need no such help or
# cannot be helped.
_NO_FOLDER_SYNC = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}


class DurableFile:
    """A new file, written front to back and on disk once `commit` returns.

    Unlike plain writing followed by fsync, a second thread flushes what was written while the rest is still coming.

    Args:
        path: Where to write; an existing file is overwritten.
        stop: When set by someone else, writing ends with `StoppedError`.
    """

    def __init__(self, path: str, stop: Event | None = None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._flusher = Worker("checkpoint-flush")
        self._flushing: Future[None] | None = None
        self._unflushed = 0
        self._stop = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flusher.close()
        os.close(self._descriptor)

    def write(self, data: bytes | memoryview) -> None:
        """Appends `data`, at most a chunk for the file to be stopped soon."""
        check_going_on(self._stop)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._unflushed += len(data)
        if self._unflushed >= _FLUSH_BYTES and (self._flushing is None or self._flushing.done()):
            self._await_flush()
            self._flushing = self._flusher.submit(os.fsync, self._descriptor)
            self._unflushed = 0

    def commit(self) -> None:
        """Returns once all that was written is on disk."""
        self._await_flush()
        os.fsync(self._descriptor)

    def _await_flush(self) -> None:
        # The kernel reports a failed write-back to one fsync only: the early one's error must not get lost.
        if self._flushing is not None:
            self._flushing.result()
            self._flushing = None


def write_file(path: str, data: bytes) -> None:
    """Writes a small new file and waits until it is on disk."""
    with DurableFile(path) as file:
        file.write(data)
        file.commit()


def replace_file(path: str, data: bytes) -> None:
    """Puts `data` in the place of a small file in one step: readers and crashes see the old one or the new one.

    Only for one writer at a time. What a crash leaves beside the file is overwritten by the next call.
    """
    folder, name = os.path.split(path)
    staged = os.path.join(folder, f".{name}.tmp")
    try:
        write_file(staged, data)
        os.replace(staged, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staged)
        raise
    sync_folder(folder)


def sync_folder(path: str) -> None:
    """Waits until the names in a folder (creations, renames, deletions) are on disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def create_model_dir(model_dir: str) -> None:
    """Creates `model_dir` with its parents, durably, and checks that it can be written to.

    Raises:
        OSError: The folder cannot be created or written to; the subclass says why (`PermissionError`, ...).
    """
    try:
        _create_folder(model_dir)
        writable = os.access(model_dir, os.W_OK | os.X_OK)
    except OSError as error:
        raise OSError(
            error.errno,
            f"`model_dir` cannot be created ({error.strerror}); give a folder that this process may write to. "
            f"Received: model_dir={model_dir!r}",
        ) from error
    if not writable:
        raise PermissionError(
            errno.EACCES,
            "`model_dir` cannot be written to; give a folder that this process may write to, or mend its permissions. "
            f"Received: model_dir={model_dir!r}",
        )


def _create_folder(path: str) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        _create_folder(parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a folder") from None
    sync_folder(parent)


@contextlib.contextmanager
def explain_write_errors(folder: str, num_bytes: int) -> Iterator[None]:
    """Turns the bare system error of a failed checkpoint write into one that says where and, on a full disk, how much.

    Args:
        folder: The folder that is written to.
        num_bytes: What the whole write needs.

    Raises:
        OSError: With the `errno` and subclass of the original.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            space = os.statvfs(folder)
            reason += (
                f"): it needs {num_bytes:,} bytes, {space.f_bavail * space.f_frsize:,} are free. Free some space, keep "
                "fewer checkpoints (`keep_checkpoint_max`) or use another `model_dir` (and mind quotas and file size "
                "limits"
            )
        raise OSError(
            error.errno, f"a checkpoint could not be written to {folder} ({reason}). Earlier checkpoints are unharmed"
        ) from error
