"""Event files as records (TFRecord) that are read while they are written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from torchestimator.io.crc32c import masked_crc32c
from torchestimator.io.record_frame import FOOTER, HEADER


class RecordTail:
    """Reads the records of a file that may still grow.

    Each `read` goes on where the last one stopped. A record that is cut off, or whose checksums do not match because it
    is still being written, ends the reading and is tried again the next time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._offset = 0

    def read(self) -> Iterator[bytes]:
        """Yield the data of each complete record that was appended since the last call; nothing if the file is gone."""
        try:
            if self._path.stat().st_size == self._offset:
                return
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            while (data := _read_record(file)) is not None:
                self._offset = file.tell()
                yield data


def _read_record(file: BinaryIO) -> bytes | None:
    """Return the next record's data, or None if it is incomplete or damaged."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    length, length_crc = HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        return None
    data, footer = file.read(length), file.read(FOOTER.size)
    if len(footer) < FOOTER.size or masked_crc32c(data) != FOOTER.unpack(footer)[0]:
        return None
    return data
