"""The header of a safetensors file: which tensor of which dtype and shape lies where.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the header's length, little-endian,
then a JSON object of that length, padded with blanks, then the tensors' bytes without gaps. `__metadata__` maps strings
to strings; tied tensors are stored once and their other names listed there under `ALIASES_KEY`, as a JSON object
from alias to stored name. A file that holds parts of larger tensors says under `DCP_SHARDING_INFO` where each of its
tensors begins in the whole one: the layout of torch.distributed.checkpoint, whose `HuggingFaceStorageReader` reads a
folder of such files.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.tensor_part import Box

ALIASES_KEY = "torchestimator.aliases"
LENGTH_BYTES = 8

_SHARDING_KEY = "DCP_SHARDING_INFO"
_OFFSETS_KEY = "saved_offsets"
_SHARDING_NOTES = {"DCP_VERSION": "1.0"}

# The limit of the reference implementation; a larger length in a file is garbage.
_MAX_HEADER_BYTES = 100_000_000

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.float4_e2m1fn_x2: "F4",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies in a file."""

    name: str
    """The name it is stored under."""
    dtype: torch.dtype
    """Its dtype in the file."""
    shape: tuple[int, ...]
    """Its shape, as torch counts it (a packed float4 pair is one element)."""
    start: int
    """First byte, counted from the end of the header."""
    offsets: tuple[int, ...]
    """Where in the whole tensor it begins, by dimension; zeros unless the file holds parts of larger ones."""

    @property
    def box(self) -> Box:
        """Which part of the whole tensor it is."""
        return Box(self.offsets, self.shape)

    @property
    def num_bytes(self) -> int:
        """Length of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class TensorHeader:
    """All that a safetensors file says about its tensors."""

    entries: tuple[TensorEntry, ...]
    """The stored tensors in file order."""
    aliases: Mapping[str, str]
    """Further names of tied tensors, each with the name it is stored under."""
    metadata: Mapping[str, str]
    """The writer's notes."""
    is_shard: bool = False
    """Whether the file holds one process's parts of tensors, to be put together with those of other files."""

    @property
    def data_bytes(self) -> int:
        """Length of all tensors together."""
        return sum(entry.num_bytes for entry in self.entries)


def encode_header(header: TensorHeader) -> bytes:
    """The header's bytes, its length field included."""
    document: dict[str, Any] = {}
    metadata = dict(header.metadata)
    if header.aliases:
        metadata[ALIASES_KEY] = json.dumps(dict(sorted(header.aliases.items())))
    if header.is_shard:
        offsets = {entry.name: {_OFFSETS_KEY: _file_sizes(entry.dtype, entry.offsets)} for entry in header.entries}
        metadata |= _SHARDING_NOTES | {_SHARDING_KEY: json.dumps(offsets)}
    if metadata:
        document["__metadata__"] = metadata
    for entry in header.entries:
        document[entry.name] = {
            "dtype": DTYPE_NAMES[entry.dtype],
            "shape": _file_sizes(entry.dtype, entry.shape),
            "data_offsets": [entry.start, entry.start + entry.num_bytes],
        }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    # Data that starts at a multiple of eight can be mapped into memory and used in place.
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER_BYTES:
        raise ValueError(
            f"the names and shapes of all tensors may take {_MAX_HEADER_BYTES:,} bytes in a safetensors file; shorten "
            f"the names or store fewer tensors. Received: {len(text):,} bytes for {len(header.entries):,} tensors"
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def read_header(descriptor: int, path: str) -> tuple[TensorHeader, bytes]:
    """Reads and checks the header of an open file, and leaves the file position behind it.

    Args:
        descriptor: The open file, positioned at its start.
        path: Its name, for errors.

    Returns:
        The header and the bytes it was read from.

    Raises:
        CheckpointDamagedError: The header is unreadable or does not describe a file of this length.
    """
    size = os.fstat(descriptor).st_size
    prefix = _read_exactly(descriptor, LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < LENGTH_BYTES or length > min(size - LENGTH_BYTES, _MAX_HEADER_BYTES):
        raise CheckpointDamagedError(path, f"it is cut in its header or no safetensors file ({size:,} bytes)")
    text = _read_exactly(descriptor, length)
    try:
        header = _parse(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointDamagedError(path, f"its header cannot be read ({error!r})") from error
    expected = LENGTH_BYTES + length + header.data_bytes
    if size < expected:
        raise CheckpointDamagedError(path, f"it is cut at {size:,} of {expected:,} bytes")
    if size > expected:
        raise CheckpointDamagedError(path, f"it has {size:,} bytes where its header tells of {expected:,}")
    return header, prefix + text


def _read_exactly(descriptor: int, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = os.read(descriptor, length - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


def _parse(document: dict[str, Any]) -> TensorHeader:
    metadata = document.pop("__metadata__", {})
    aliases = json.loads(metadata.pop(ALIASES_KEY, "{}"))
    is_shard = _SHARDING_KEY in metadata
    parts = json.loads(metadata.pop(_SHARDING_KEY)) if is_shard else {}
    entries = sorted(
        (
            _parse_entry(name, value, parts[name][_OFFSETS_KEY] if is_shard else None)
            for name, value in document.items()
        ),
        key=_file_order,
    )
    position = 0
    for entry in entries:
        if entry.start != position:
            raise ValueError(f"{entry.name} starts at byte {entry.start}, not {position}")
        position += entry.num_bytes
    unknown = set(aliases.values()) - set(document)
    if unknown:
        raise ValueError(f"aliases of tensors that are not stored: {sorted(unknown)}")
    return TensorHeader(tuple(entries), aliases, metadata, is_shard)


def _parse_entry(name: str, value: dict[str, Any], offsets: list[int] | None) -> TensorEntry:
    dtype = _DTYPES[value["dtype"]]
    start, end = (int(offset) for offset in value["data_offsets"])
    shape = _torch_sizes(dtype, value["shape"])
    entry = TensorEntry(name, dtype, shape, start, _torch_sizes(dtype, offsets or [0] * len(shape)))
    if len(entry.offsets) != len(shape) or min(entry.offsets, default=0) < 0:
        raise ValueError(f"{name} of shape {entry.shape} at {entry.offsets} of the whole tensor")
    if end - start != entry.num_bytes or min(entry.shape, default=0) < 0:
        raise ValueError(f"{name} of shape {entry.shape} in {end - start} bytes")
    return entry


def _file_order(entry: TensorEntry) -> tuple[int, int]:
    # Empty tensors share their start with the one behind them.
    return entry.start, entry.num_bytes


def _file_sizes(dtype: torch.dtype, torch_sizes: Iterable[int]) -> list[int]:
    sizes = list(torch_sizes)
    if dtype == torch.float4_e2m1fn_x2:
        sizes[-1] *= 2
    return sizes


def _torch_sizes(dtype: torch.dtype, file_sizes: Iterable[int]) -> tuple[int, ...]:
    sizes = [int(size) for size in file_sizes]
    if dtype == torch.float4_e2m1fn_x2:
        sizes[-1] //= 2
    return tuple(sizes)
