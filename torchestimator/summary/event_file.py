"""One event file on disk."""

import io
import itertools
import os
import socket
import threading
import time
import weakref

from torchestimator.io.record_frame import frame
from torchestimator.summary import protos

_file_numbers = itertools.count()
_files: "weakref.WeakSet[EventFile]" = weakref.WeakSet()


class EventFile:
    """Appends records to a file of its own, `events.out.tfevents.<seconds>.<host>.<process>.<number>`.

    - The first record creates the file, and its folder.
    - Records go to the operating system as they are written, with nothing buffered here and no thread: other processes
      see each one at once, and a killed process loses none.
    - A record that cannot be written whole (a full disk) is taken back, so that the file stays readable.
    - A forked child goes on in a file of its own, and so does a process whose file was deleted under it (a model folder
      that was removed to start afresh).
    - Several threads may append.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        self._logdir = os.path.abspath(logdir)
        self._path = ""
        self._file: io.FileIO | None = None
        self._closer = weakref.finalize(self, _nothing)
        self._lock = threading.Lock()
        self._closed = False
        _files.add(self)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def append(self, data: bytes) -> None:
        """Write one record.

        Raises:
            RuntimeError: The file is closed.
            OSError: The record could not be written; the file is as it was.
        """
        record = frame(data)
        with self._lock:
            if self._closed:
                raise RuntimeError(
                    f"The event file in {self._logdir} is closed. `event_writer(logdir)` gives an open writer."
                )
            file = self._open()
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                record = frame(protos.event(time.time(), 0, file_version=protos.FILE_VERSION)) + record
            try:
                rest = memoryview(record)
                while rest:
                    rest = rest[file.write(rest) :]
            except BaseException:
                file.truncate(size)
                file.seek(size)
                raise

    def sync(self) -> None:
        """Force the records to the disk."""
        with self._lock:
            if self._file is not None:
                os.fsync(self._file.fileno())

    def release(self) -> None:
        """Close the descriptor; the next record opens the same file again."""
        with self._lock:
            self._drop_descriptor()

    def close(self) -> None:
        """Close the file for good; closing twice does nothing."""
        with self._lock:
            self._closed = True
            self._drop_descriptor()

    def start_over(self) -> None:
        """Leave the file to the parent process, in a forked child, whose other threads and their locks are gone."""
        self._lock = threading.Lock()
        self._drop_descriptor()
        self._path = ""

    def _drop_descriptor(self) -> None:
        self._closer()
        self._file = None

    def _open(self) -> io.FileIO:
        """Return the open file: the one in use, the one released before, or a new one."""
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink:
            return self._file
        self._drop_descriptor()
        if self._path and os.path.exists(self._path):
            file = io.FileIO(self._path, "r+")
            file.seek(0, os.SEEK_END)
        else:
            file = self._create()
        self._file = file
        self._closer = weakref.finalize(self, file.close)
        return file

    def _create(self) -> io.FileIO:
        """Create a file under a name that nobody has, of the form that TensorBoard looks for."""
        os.makedirs(self._logdir, exist_ok=True)
        while True:
            # TensorBoard reads the files of a folder in the order of their names: the time comes first, in ten digits.
            owner = f"{socket.gethostname()}.{os.getpid()}.{next(_file_numbers)}"
            self._path = os.path.join(self._logdir, f"events.out.tfevents.{int(time.time()):010d}.{owner}")
            try:
                return io.FileIO(self._path, "x")
            except FileExistsError:
                continue


def _nothing() -> None:
    """Close nothing: stands for the descriptor of a file that is not open."""


def _start_over_in_child() -> None:
    for file in list(_files):
        file.start_over()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_start_over_in_child)
