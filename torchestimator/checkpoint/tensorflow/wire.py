"""The wire format of protocol buffers, as far as the few messages of a checkpoint's index need it.

Read by hand, in 40 lines: declaring these messages at run time would take more, and importing protobuf 30 ms.
"""

from collections.abc import Iterator
from typing import TypeAlias

Field: TypeAlias = tuple[int, int | bytes]
"""The number of a field, and its value: an integer, or the bytes of a string, a message or a packed list."""

_WIDTHS = {1: 8, 5: 4}
"""Bytes of a value by wire type, where that is fixed."""


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns an unsigned variable-length integer and the position after it.

    Raises:
        ValueError: `data` ends in the middle, or the number has more than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"no varint ends at byte {position}")


def signed(value: int) -> int:
    """Returns a varint's value as the int64 that it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def read_fields(message: bytes) -> Iterator[Field]:
    """Yields the fields of a serialised message in the order in which they stand there.

    Raises:
        ValueError: this is no message.
    """
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = read_varint(message, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = read_varint(message, position)
        elif wire_type in _WIDTHS:
            length = _WIDTHS[wire_type]
        else:
            raise ValueError(f"byte {position} begins a field of the unknown type {wire_type}")
        data = message[position : position + length]
        if len(data) < length:
            raise ValueError(f"a field of {length} bytes at byte {position} is cut off")
        position += length
        yield number, data if wire_type == 2 else int.from_bytes(data, "little")


def as_bytes(value: int | bytes) -> bytes:
    """The value of a field that must be a string or a message."""
    if isinstance(value, int):
        raise ValueError(f"a number stands where bytes are expected: {value}")
    return value


def as_int(value: int | bytes) -> int:
    """The value of a field that must be a number."""
    if isinstance(value, bytes):
        raise ValueError(f"bytes stand where a number is expected: {value[:20]!r}")
    return value
