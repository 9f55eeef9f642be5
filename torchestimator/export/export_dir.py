"""The folder of one export: named by the time, and there only when it is complete."""

import errno
import os
import shutil
import time
from types import TracebackType
from typing import Self

from torchestimator.checkpoint.filesystem import sync_folder
from torchestimator.log import LOG

_ATTEMPTS = 10


class ExportDir:
    """A context manager in which an export is written beside its place, and then published with one rename.

    Args:
        base_dir: the folder of all exports; made where it does not exist.

    Raises:
        OSError: the folder can't be made or written to.
        RuntimeError: exports of the last ten seconds have taken all names.
    """

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        self._base = os.path.abspath(os.fspath(base_dir))

    def __enter__(self) -> Self:
        try:
            os.makedirs(self._base, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno,
                f"`export_dir_base` can't be made ({error.strerror}); give a folder that this process may write to. "
                f"Received: {self._base}",
            ) from error
        for attempt in range(_ATTEMPTS):
            self.version = int(time.time())
            self.final = os.path.join(self._base, str(self.version))
            self.path = os.path.join(self._base, f"temp-{self.version}")
            if not os.path.exists(self.final):
                try:
                    os.mkdir(self.path)
                except FileExistsError:
                    pass
                else:
                    # Another process may have published between the two calls.
                    if not os.path.exists(self.final):
                        return self
                    os.rmdir(self.path)
            LOG.warning("%s exists already; trying the next second (%d of %d).", self.final, attempt + 1, _ATTEMPTS)
            time.sleep(1)
        raise RuntimeError(
            f"No free name for an export was found in {self._base} in {_ATTEMPTS} seconds. Do several processes "
            "export there? Give each a folder of its own."
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            space = os.statvfs(self._base)
            error.add_note(
                f"The disk of {self._base} is full ({space.f_bavail * space.f_frsize:,} bytes are free). Nothing was "
                "exported; earlier exports are unharmed. Free some space, or export fewer formats: formats=('onnx',)."
            )

    def publish(self) -> str:
        """Gives the complete export its name; returns its path.

        Everything is on the disk before the rename, so a crash leaves a whole export or none.
        """
        for folder, _, files in os.walk(self.path, topdown=False):
            for name in files:
                _sync_file(os.path.join(folder, name))
            sync_folder(folder)
        os.rename(self.path, self.final)
        sync_folder(self._base)
        return self.final


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
