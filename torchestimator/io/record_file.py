"""Reading TFRecord files."""

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchestimator.io.crc32c import masked_crc32c, masked_crc32c_of_ranges
from torchestimator.io.record_frame import FOOTER, HEADER

Places: TypeAlias = NDArray[np.int64]

_BLOCK_RECORDS = 4096
_BLOCK_BYTES = 4 << 20
"""How much is looked at together: enough to spread the cost of numpy's calls, little enough for the cache."""
_CHUNK = 1 << 18
"""Bytes that are decompressed at once."""
_LENGTH = struct.Struct("<Q")


class RecordDamagedError(ValueError):
    """A file of records is cut off, or holds other bytes than were written.

    Args:
        path: The file.
        position: The byte at which the damaged record begins; of a compressed file, after decompression.
        detail: What is wrong with it.
    """

    def __init__(self, path: str, position: int, detail: str) -> None:
        super().__init__(path, position, detail)
        self.path = path
        self.position = position
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.path} is damaged at byte {self.position}: {self.detail}"


class RecordFile:
    """The records of one file, mapped into memory, in any order.

    A file that is compressed, which is recognised by its first bytes, cannot be read in any order: it is decompressed
    into a temporary file, which disappears with this object.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is none.
        RecordDamagedError: the compressed data are damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        """Of the file."""
        with open(self.path, "rb") as file:
            self.data = _mapped(file) if not _is_compressed(file) else _decompressed(file, self.path)
        """[bytes] uint8, all of it."""

    def blocks(self) -> Iterator[tuple[Places, Places]]:
        """Yields where the data of the next few thousand records begin and end; their headers are verified.

        Raises:
            RecordDamagedError: a record's header is damaged, or the file ends in the middle of one. The blocks before
                have been yielded.
        """
        position, size = 0, len(self.data)
        while position < size:
            starts, end = self._scan(position)
            if not len(starts) and size - position >= HEADER.size:
                starts = np.array([position + HEADER.size], dtype=np.int64)
            num_sound = self._num_sound(starts)
            ends = np.append(starts, end + HEADER.size)[1:] - HEADER.size - FOOTER.size
            if num_sound and end > position:
                yield starts[:num_sound], ends[:num_sound]
            if num_sound < len(starts):
                detail = "the checksum of the record's length differs"
                if num_sound == 0 and position == 0:
                    detail += ". It is the first record: is this a TFRecord file?"
                raise RecordDamagedError(self.path, int(starts[num_sound]) - HEADER.size, detail)
            if end == position:
                detail = f"the record is cut off, the file ends at byte {size}"
                raise RecordDamagedError(self.path, position, detail)
            position = end

    def check(self, starts: Places, ends: Places) -> None:
        """Verifies the data of some records.

        Args:
            starts: [records] where each begins.
            ends: [records] where it ends.

        Raises:
            RecordDamagedError: a checksum differs; the first such record in the order given.
        """
        stored = self._words(ends)
        differs = stored != masked_crc32c_of_ranges(self.data, starts, ends)
        if differs.any():
            start = int(starts[differs.argmax()])
            raise RecordDamagedError(self.path, start - HEADER.size, "the checksum of the record's data differs")

    def _scan(self, position: int) -> tuple[Places, int]:
        """Follows the lengths from record to record, as far as the file goes; where the data begin, and the end."""
        unpack, data = _LENGTH.unpack_from, self.data.data
        frame_bytes = HEADER.size + FOOTER.size
        last, stop = len(self.data), position + _BLOCK_BYTES
        starts: list[int] = []
        while len(starts) < _BLOCK_RECORDS and position + frame_bytes <= last and position < stop:
            after: int = position + frame_bytes + unpack(data, position)[0]
            if after > last:
                break
            starts.append(position + HEADER.size)
            position = after
        return np.array(starts, dtype=np.int64), position

    def _num_sound(self, starts: Places) -> int:
        """How many records there are before the first whose header is wrong.

        A damaged length leads the scan astray, so that the first wrong header is the damaged one.
        """
        crc_places = starts - FOOTER.size
        crcs = masked_crc32c_of_ranges(self.data, crc_places - _LENGTH.size, crc_places)
        differs = self._words(crc_places) != crcs
        return int(differs.argmax()) if differs.any() else len(starts)

    def _words(self, places: Places) -> NDArray[np.uint32]:
        """[places] the four bytes at each place, as a number."""
        if not len(places):
            return np.zeros(0, np.uint32)
        words: NDArray[Any] = np.ndarray((len(self.data) - 3,), "<u4", self.data.data, strides=(1,))
        return words[places]


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yields the records of a TFRecord file in their order, each verified (tf.data.TFRecordDataset).

    Compression with gzip or zlib is recognised.

        for record in te.io.read_records("train.tfrecord"):
            ...

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is none.
        RecordDamagedError: a record is damaged or cut off; the message names the file and the byte. The records before
            it have been yielded.
    """
    file = RecordFile(path)
    for starts, ends in file.blocks():
        damage = None
        try:
            file.check(starts, ends)
        except RecordDamagedError as error:
            damage = error
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if damage is not None and start - HEADER.size == damage.position:
                raise damage
            yield file.data[start:end].tobytes()


def _is_compressed(file: BinaryIO) -> bool:
    """Whether a file begins as gzip or zlib do, and not with the header of a record."""
    head = file.read(HEADER.size)
    file.seek(0)
    if len(head) == HEADER.size and masked_crc32c(head[:8]) == HEADER.unpack(head)[1]:
        return False
    is_gzip = head[:3] == b"\x1f\x8b\x08"
    is_zlib = len(head) >= 2 and head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return is_gzip or is_zlib


def _mapped(file: Any) -> NDArray[np.uint8]:
    if file.seek(0, os.SEEK_END) == 0:  # an empty file cannot be mapped
        return np.zeros(0, np.uint8)
    # A plain array of the mapped memory: the class memmap costs microseconds at each slice.
    return np.asarray(np.memmap(file, np.uint8, "r"))


def _decompressed(file: BinaryIO, path: str) -> NDArray[np.uint8]:
    with tempfile.TemporaryFile(prefix="torchestimator-records-") as plain:
        rest = b""
        while rest or (rest := file.read(_CHUNK)):
            # A gzip file may consist of several, one after the other.
            stream = zlib.decompressobj(wbits=15 | 32)
            try:
                while rest and not stream.eof:
                    plain.write(stream.decompress(rest))
                    rest = stream.unused_data or file.read(_CHUNK)
            except zlib.error as error:
                detail = f"it cannot be decompressed ({error})"
                raise RecordDamagedError(path, plain.tell(), detail) from error
            if not stream.eof:
                raise RecordDamagedError(path, plain.tell(), "the compressed data end too early")
        plain.flush()
        return _mapped(plain)
