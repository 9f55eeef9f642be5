"""Locks on a `model_dir`: one training at a time, one writer of checkpoints at a time."""

import contextlib
import datetime
import errno
import fcntl
import functools
import json
import logging
import os
import socket
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from torchestimator.checkpoint.filesystem import create_model_dir

TRAINING_LOCK_FILE = ".lock"
WRITER_LOCK_FILE = ".checkpoint.lock"

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}

_logger = logging.getLogger(__name__)


class ModelDirLock:
    """Holds a `model_dir` for one training process, as a context manager.

    The operating system releases it when the process ends, however it ends. Reading needs no lock. On file systems
    without locks it warns and does nothing.

    Args:
        model_dir: The folder; created if necessary.

    Raises:
        RuntimeError: On entering, if another process, or another training of this one, holds it.
        OSError: On entering, if the folder cannot be created or written to.
    """

    def __init__(self, model_dir: str | os.PathLike[str]) -> None:
        self._model_dir = os.path.abspath(os.fspath(model_dir))
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        if self._descriptor is not None:
            raise RuntimeError("this `ModelDirLock` is entered already; use a new one for each `with`")
        create_model_dir(self._model_dir)
        path = os.path.join(self._model_dir, TRAINING_LOCK_FILE)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                _logger.warning("%s has no file locks: nothing stops a second training there.", self._model_dir)
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "started_at": time.time()}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        except BlockingIOError:
            message = self._taken(os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            raise RuntimeError(message) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        # A forked data loader worker that outlives its parent must not go on holding the parent's lock.
        os.register_at_fork(after_in_child=functools.partial(_let_go_in_child, weakref.ref(self)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            _release(self._descriptor)
            self._descriptor = None

    def _taken(self, owner: bytes) -> str:
        try:
            fields = json.loads(owner)
            since = datetime.datetime.fromtimestamp(fields["started_at"]).isoformat(" ", "seconds")
            holder = f"pid {fields['pid']} on host {fields['host']}, since {since}"
            if fields["pid"] == os.getpid() and fields["host"] == socket.gethostname():
                holder = f"this very process ({holder})"
        except (ValueError, KeyError, TypeError, OverflowError):
            holder = "a process that has just begun"
        return (
            f"another training is using `model_dir`: {holder}. Two trainings in one folder would overwrite each "
            f"other's checkpoints; wait for the other one, stop it, or give this one a `model_dir` of its own. "
            f"Received: model_dir={self._model_dir!r}"
        )


def lock_owner(model_dir: str) -> str | None:
    """What the training that holds a `model_dir`, or held it last, has written there of itself; None: nothing."""
    try:
        with open(os.path.join(model_dir, TRAINING_LOCK_FILE), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def writer_lock(model_dir: str) -> Iterator[bool]:
    """Holds back all other writers of checkpoints in a `model_dir`, in any process, waiting for them first.

    Yields:
        Whether no other writer can be at work; False on a file system without locks.
    """
    descriptor = os.open(os.path.join(model_dir, WRITER_LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _lock(descriptor, fcntl.LOCK_EX)
    finally:
        _release(descriptor)


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _release(descriptor: int) -> None:
    # Closing alone would leave the lock with children that were forked meanwhile.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _let_go_in_child(lock: "weakref.ref[ModelDirLock]") -> None:
    parents_lock = lock()
    if parents_lock is not None and parents_lock._descriptor is not None:
        os.close(parents_lock._descriptor)
        parents_lock._descriptor = None
