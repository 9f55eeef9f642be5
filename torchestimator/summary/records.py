"""The record format of event files: length, checksum of the length, data, checksum of the data (TFRecord)."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from torchestimator.summary.crc32c import masked_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def frame(data: bytes) -> bytes:
    """Return `data` as one record."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, _FOOTER.pack(masked_crc32c(length)), data, _FOOTER.pack(masked_crc32c(data))])


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
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, length_crc = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        return None
    data, footer = file.read(length), file.read(_FOOTER.size)
    if len(footer) < _FOOTER.size or masked_crc32c(data) != _FOOTER.unpack(footer)[0]:
        return None
    return data
