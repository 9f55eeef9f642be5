"""What a checkpoint's index says of each tensor: the messages of tensorflow/core/protobuf/tensor_bundle.proto."""

from dataclasses import dataclass

from torchestimator.checkpoint.tensorflow.wire import as_bytes, as_int, read_fields, signed

HEADER_KEY = b""
"""The key of the header; it sorts before all names."""


@dataclass(frozen=True)
class BundleHeader:
    """What is true of all tensors (`BundleHeaderProto`)."""

    num_shards: int
    """Files that hold the tensors' bytes."""
    is_little_endian: bool
    """The byte order of all numbers in them."""
    min_consumer: int
    """The oldest version of readers that understand the files."""


@dataclass(frozen=True)
class Extent:
    """A range along one dimension."""

    start: int
    """The first index."""
    length: int
    """How many; -1: all."""


@dataclass(frozen=True)
class BundleEntry:
    """One tensor, or one slice of a partitioned one (`BundleEntryProto`)."""

    dtype: int
    """The number of its dtype (`DataType`)."""
    shape: tuple[int, ...]
    """Of a partitioned tensor: of the whole."""
    shard: int
    """Which file holds its bytes."""
    offset: int
    """Where they begin."""
    size: int
    """How many bytes they are."""
    crc: int
    """Their masked CRC-32C."""
    slices: tuple[tuple[Extent, ...], ...]
    """The slices of a partitioned tensor, each stored as an entry of its own (`slice_key`); empty for others."""


def parse_header(message: bytes) -> BundleHeader:
    """Raises: ValueError: this is no header."""
    num_shards, endianness, min_consumer = 0, 0, 0
    for number, value in read_fields(message):
        if number == 1:
            num_shards = as_int(value)
        elif number == 2:
            endianness = as_int(value)
        elif number == 3:
            min_consumer = next((as_int(each) for field, each in read_fields(as_bytes(value)) if field == 2), 0)
    if num_shards < 1:
        raise ValueError(f"it has {num_shards} shards")
    return BundleHeader(num_shards, endianness == 0, min_consumer)


def parse_entry(message: bytes) -> BundleEntry:
    """Raises: ValueError: this is no entry."""
    numbers = dict.fromkeys((1, 3, 4, 5, 6), 0)
    shape: tuple[int, ...] = ()
    slices = []
    for number, value in read_fields(message):
        if number == 2:
            shape = _shape(as_bytes(value))
        elif number == 7:
            slices.append(_slice(as_bytes(value)))
        elif number in numbers:
            numbers[number] = as_int(value)
    dtype, shard, offset, size, crc = numbers.values()
    return BundleEntry(dtype, shape, shard, offset, size, crc, tuple(slices))


def slice_key(name: str, extents: tuple[Extent, ...]) -> bytes:
    """The key under which a slice is stored.

    In TensorFlow's order-preserving encoding (`checkpoint::EncodeTensorNameSlice`): the number 0, the name, the number
    of dimensions, and of each dimension start and length.
    """
    # Its escapes, for the bytes 00 and ff, are never needed: names are text in UTF-8.
    key = b"\x00" + name.encode() + b"\x00\x01" + _ordered_count(len(extents))
    for extent in extents:
        key += _ordered_number(extent.start) + _ordered_number(extent.length)
    return key


def _shape(message: bytes) -> tuple[int, ...]:
    sizes = []
    for number, dim in read_fields(message):
        if number == 2:
            sizes.append(next((signed(as_int(value)) for field, value in read_fields(as_bytes(dim)) if field == 1), 0))
    return tuple(sizes)


def _slice(message: bytes) -> tuple[Extent, ...]:
    extents = []
    for number, extent in read_fields(message):
        if number == 1:
            fields = {field: signed(as_int(value)) for field, value in read_fields(as_bytes(extent))}
            extents.append(Extent(fields.get(1, 0), fields.get(2, -1)))
    return tuple(extents)


def _ordered_count(number: int) -> bytes:
    """An unsigned number: how many bytes, then the bytes, highest first."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(data)]) + data


def _ordered_number(number: int) -> bytes:
    """A signed number in as few bytes as hold 7 bits each; as many leading ones as bytes mark their count.

    A negative number is the complement of what its complement would be.
    """
    magnitude = ~number if number < 0 else number
    length = magnitude.bit_length() // 7 + 1
    marked = magnitude | ((1 << length) - 1) << (8 * length - length)
    if number < 0:
        marked = ~marked & ((1 << 8 * length) - 1)
    return marked.to_bytes(length, "big")
