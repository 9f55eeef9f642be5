"""Sorted tables of keys and values, in the file format of LevelDB: what a checkpoint's index is.

The format: https://github.com/google/leveldb/blob/main/doc/table_format.md. Blocks of entries whose keys share
prefixes, each followed by a byte for its compression and a masked CRC-32C; an index block that lists them; a footer of
48 bytes that says where the index is.
"""

import struct

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.tensorflow.wire import read_varint
from torchestimator.io.crc32c import masked_crc32c

FOOTER_BYTES = 48
MAGIC = bytes.fromhex("57fb808b247547db")
"""The last bytes of every table."""

_TRAILER = struct.Struct("<BI")
_COMPRESSIONS = {1: "snappy", 2: "zstd"}


class TableReader:
    """Reads a whole table; every block's checksum is verified.

    Args:
        path: of the file, for errors.
        content: all of its bytes.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self._path = path
        self._content = content

    def entries(self) -> dict[bytes, bytes]:
        """The values by key, in the order of the keys.

        Raises:
            CheckpointDamagedError: a block is cut off, garbled or of another checksum; the message gives its position.
            ValueError: a block is compressed.
        """
        if len(self._content) < FOOTER_BYTES or self._content[-len(MAGIC) :] != MAGIC:
            raise CheckpointDamagedError(self._path, f"it is cut off, or no table: {len(self._content)} bytes")
        footer = len(self._content) - FOOTER_BYTES
        begin, size, position = self._handle(self._content, footer, "the footer")
        self._block(begin, size)  # of notes about the table; TensorFlow writes none
        begin, size, _ = self._handle(self._content, position, "the footer")
        found: dict[bytes, bytes] = {}
        for handle in self._block(begin, size).values():
            begin, size, _ = self._handle(handle, 0, "the index block")
            found |= self._block(begin, size)
        return found

    def _handle(self, data: bytes, position: int, where: str) -> tuple[int, int, int]:
        """Where a block begins, its size, and the position after these two numbers."""
        try:
            begin, position = read_varint(data, position)
            size, position = read_varint(data, position)
        except ValueError as error:
            raise CheckpointDamagedError(self._path, f"{where} tells no position of a block ({error})") from None
        return begin, size, position

    def _block(self, begin: int, size: int) -> dict[bytes, bytes]:
        end = begin + size
        if end + _TRAILER.size > len(self._content) - FOOTER_BYTES:
            raise CheckpointDamagedError(self._path, f"the block at byte {begin} reaches beyond its end")
        compression, crc = _TRAILER.unpack_from(self._content, end)
        if masked_crc32c(self._content[begin : end + 1]) != crc:
            raise CheckpointDamagedError(self._path, f"the checksum of the block at byte {begin} differs")
        if compression:
            # TensorFlow writes no compressed blocks; it has reserved the right to.
            name = _COMPRESSIONS.get(compression, f"method {compression}")
            raise ValueError(
                f"{self._path} has a block that is compressed ({name}), which is not supported. Load the checkpoint "
                "in TensorFlow and save it anew: TensorFlow 1.2 and later write it uncompressed."
            )
        try:
            return _entries(self._content[begin:end])
        except (ValueError, struct.error) as error:
            raise CheckpointDamagedError(self._path, f"the block at byte {begin} is garbled ({error})") from error


def _entries(block: bytes) -> dict[bytes, bytes]:
    (num_restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 * (num_restarts + 1)
    if end < 0:
        raise ValueError(f"it has {num_restarts} restart points in {len(block)} bytes")
    found: dict[bytes, bytes] = {}
    key, position = b"", 0
    while position < end:
        num_shared, position = read_varint(block, position)
        num_own, position = read_varint(block, position)
        num_value, position = read_varint(block, position)
        after = position + num_own + num_value
        if num_shared > len(key) or after > end:
            raise ValueError(f"the entry at byte {position} of it reaches beyond its end")
        key = key[:num_shared] + block[position : position + num_own]
        found[key] = block[position + num_own : after]
        position = after
    return found
