"""The frame of one record (TFRecord): length, checksum of the length, data, checksum of the data."""

import struct

from torchestimator.io.crc32c import masked_crc32c

HEADER = struct.Struct("<QI")
"""The number of bytes of the data, and the masked CRC-32C of this number as it is written."""
FOOTER = struct.Struct("<I")
"""The masked CRC-32C of the data."""


def frame(data: bytes) -> bytes:
    """Return `data` as one record."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, FOOTER.pack(masked_crc32c(length)), data, FOOTER.pack(masked_crc32c(data))])
