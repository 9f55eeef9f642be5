"""Reading a checkpoint that TensorFlow wrote, without TensorFlow."""

import difflib
import os
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.mismatch import shorten
from torchestimator.checkpoint.tensorflow.bundle import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    Extent,
    parse_entry,
    parse_header,
    slice_key,
)
from torchestimator.checkpoint.tensorflow.dtypes import STRING, element_size, numpy_dtype, to_array
from torchestimator.checkpoint.tensorflow.location import INDEX_SUFFIX, find_prefix, require_prefix
from torchestimator.checkpoint.tensorflow.table import TableReader
from torchestimator.checkpoint.tensorflow.wire import read_varint
from torchestimator.io.crc32c import masked_crc32c

Part: TypeAlias = tuple[tuple[slice, ...], NDArray[Any]]
"""Where a part of a partitioned tensor lies in the whole, and its values."""

_KNOWN_FORMAT = 1
"""The newest version of the format that this reads; all of TensorFlow 1.x and 2.x write it."""
_STEP_NAMES = ("global_step", "estimator_global_step/.ATTRIBUTES/VARIABLE_VALUE")


def is_tensorflow_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a path that may be a checkpoint of this library or of TensorFlow means one of TensorFlow."""
    return find_prefix(os.fspath(path)) is not None


class TensorFlowCheckpoint:
    """The tensors of a checkpoint in TensorFlow's format of today ("v2": `<prefix>.index`, `<prefix>.data-*-of-*`).

    Those of Estimators, of `tf.train.Saver`, of `tf.train.Checkpoint` (whose names end in
    `/.ATTRIBUTES/VARIABLE_VALUE`) and the variables of a SavedModel. Opening reads the index; a tensor is read from the
    memory-mapped file, and its checksum verified, when it is asked for.

        checkpoint = TensorFlowCheckpoint("model_dir/model.ckpt-1000")
        kernel = checkpoint.get("dnn/hiddenlayer_0/kernel")

    Args:
        path: the checkpoint's prefix, as `tf.train.latest_checkpoint` returns it; or a model_dir, for the newest that
            its file `checkpoint` names; or a SavedModel.
        verify: whether to compare the checksums of tensors.

    Raises:
        FileNotFoundError: there is no checkpoint; the message says what there is.
        CheckpointDamagedError: the index is damaged; the message gives the position.
        ValueError: the format is newer than any TensorFlow 2 writes.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        self.prefix = require_prefix(os.fspath(path))
        """The absolute path of its files without their endings."""
        self._verify = verify
        self._index_path = self.prefix + INDEX_SUFFIX
        with open(self._index_path, "rb") as file:
            self._messages = TableReader(self._index_path, file.read()).entries()
        self._header = self._read_header()
        # Slices of partitioned tensors stand under keys that begin with a zero byte.
        self._names = [key.decode() for key in self._messages if key and key[0]]
        self._shards: dict[int, NDArray[np.uint8]] = {}

    @property
    def step(self) -> int | None:
        """The global step at which it was saved; None where there is none (not every checkpoint has a step)."""
        name = next((each for each in _STEP_NAMES if each in self), None)
        return None if name is None else int(self.get(name))

    def names(self) -> list[str]:
        """The names of all tensors, sorted."""
        return list(self._names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(name) and name.encode() in self._messages

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            ValueError: there is no tensor of that name; the message offers similar ones.
        """
        return self._entry(name).shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """The dtype of the array that `get` returns: bfloat16 is read as float32, strings as objects."""
        return self._described(name, self._entry(name))

    def get(self, name: str) -> NDArray[Any]:
        """Reads a tensor, a partitioned one as a whole.

        Args:
            name: one of `names()`.

        Returns:
            An array of its own memory; strings are `bytes`. bfloat16 is given as float32, exactly.

        Raises:
            ValueError: there is no such tensor, or the checkpoint has only a part of it.
            CheckpointDamagedError: a file is missing or cut, or a checksum differs.
        """
        parts = self.parts(name)
        shape = self.shape(name)
        whole = np.empty(shape, self.dtype(name))
        if sum(values.size for _, values in parts) < whole.size:
            raise ValueError(
                f"{self.prefix} has only a part of {name!r}: {[_written(place) for place, _ in parts]} of the shape "
                f"{list(shape)}. That is how slots of partitioned variables are stored; join their `parts`."
            )
        for place, values in parts:
            whole[place] = values
        return whole

    def parts(self, name: str) -> list[Part]:
        """Reads a tensor as it is stored: the slices of a partitioned one, or the one whole.

        The optimizer's slots of a partitioned variable stand under names of their own (`<variable>/part_0/Ftrl`), each
        with the shape of the whole and one slice of it. `get` refuses such a name; here are the values.
        """
        entry = self._entry(name)
        self._described(name, entry)
        if not entry.slices:
            return [(tuple(slice(0, size) for size in entry.shape), self._read(name, entry))]
        parts = []
        for extents in entry.slices:
            key = slice_key(name, extents)
            if key not in self._messages:
                raise CheckpointDamagedError(self._index_path, f"it lists a slice of {name!r} that is not there")
            place = _place(extents, entry.shape)
            part = self._parse(name, self._messages[key])
            if part.shape != tuple(each.stop - each.start for each in place):
                raise CheckpointDamagedError(self._index_path, f"a slice of {name!r} has the shape {list(part.shape)}")
            parts.append((place, self._read(name, part)))
        return parts

    def _read_header(self) -> BundleHeader:
        if HEADER_KEY not in self._messages:
            raise CheckpointDamagedError(self._index_path, "it has no header: this is no index of a checkpoint")
        try:
            header = parse_header(self._messages[HEADER_KEY])
        except ValueError as error:
            raise CheckpointDamagedError(self._index_path, f"its header is garbled ({error})") from error
        if header.min_consumer > _KNOWN_FORMAT:
            raise ValueError(
                f"{self._index_path} is of a newer format than this version reads. Received: version "
                f"{header.min_consumer}, known is {_KNOWN_FORMAT}."
            )
        return header

    def _entry(self, name: str) -> BundleEntry:
        if name not in self:
            close = difflib.get_close_matches(name, self._names, 3, 0.4)
            offer = f"Similar: {close}" if close else f"It has: {shorten(self._names)}"
            raise ValueError(f"{self.prefix} has no tensor {name!r}. {offer}.")
        return self._parse(name, self._messages[name.encode()])

    def _parse(self, name: str, message: bytes) -> BundleEntry:
        try:
            return parse_entry(message)
        except ValueError as error:
            raise CheckpointDamagedError(self._index_path, f"its entry of {name!r} is garbled ({error})") from error

    def _described(self, name: str, entry: BundleEntry) -> np.dtype[Any]:
        try:
            return numpy_dtype(entry.dtype)
        except ValueError as error:
            raise ValueError(f"{name!r} in {self.prefix} {error}.") from None

    def _read(self, name: str, entry: BundleEntry) -> NDArray[Any]:
        """The values of an entry that has its bytes itself."""
        data = self._shard(entry.shard)[entry.offset : entry.offset + entry.size]
        path = self._shard_path(entry.shard)
        if len(data) < entry.size:
            raise CheckpointDamagedError(
                path, f"it is cut off: {name!r} ends at byte {entry.offset + entry.size}, the file before"
            )
        where = f"the values of {name!r} at byte {entry.offset}"
        count = int(np.prod(entry.shape, dtype=np.int64))
        if entry.dtype == STRING:
            try:
                strings, checked = _split_strings(data.tobytes(), count, self._header.is_little_endian)
            except ValueError as error:
                raise CheckpointDamagedError(path, f"{where} are garbled ({error})") from None
            self._check(checked, entry.crc, path, where)
            array = np.empty(count, dtype=object)
            array[:] = strings
            return array.reshape(entry.shape)
        if count * element_size(entry.dtype) != entry.size:
            raise CheckpointDamagedError(
                self._index_path, f"{name!r} of the shape {list(entry.shape)} has {entry.size} bytes"
            )
        self._check(data, entry.crc, path, where)
        return to_array(entry.dtype, data, self._header.is_little_endian).reshape(entry.shape)

    def _check(self, data: bytes | NDArray[np.uint8], crc: int, path: str, where: str) -> None:
        if self._verify and masked_crc32c(data) != crc:
            raise CheckpointDamagedError(path, f"the checksum of {where} differs")

    def _shard(self, number: int) -> NDArray[np.uint8]:
        """The bytes of a data file, mapped into memory."""
        if number not in self._shards:
            path = self._shard_path(number)
            try:
                size = os.path.getsize(path)
                # An empty file cannot be mapped; it may hold the tensors without elements.
                self._shards[number] = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
            except FileNotFoundError:
                raise CheckpointDamagedError(path, self._missing()) from None
        return self._shards[number]

    def _shard_path(self, number: int) -> str:
        return f"{self.prefix}.data-{number:05d}-of-{self._header.num_shards:05d}"

    def _missing(self) -> str:
        present = [each for each in range(self._header.num_shards) if os.path.isfile(self._shard_path(each))]
        return (
            f"it is missing. The checkpoint consists of its index and {self._header.num_shards} data files, of which "
            f"{len(present)} are there; copy the others beside them"
        )


def _place(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(extent.start, size if extent.length < 0 else extent.start + extent.length)
        for extent, size in zip(extents, shape, strict=True)
    )


def _written(place: tuple[slice, ...]) -> str:
    return f"[{', '.join(f'{each.start}:{each.stop}' for each in place)}]"


def _split_strings(data: bytes, count: int, is_little_endian: bool) -> tuple[list[bytes], bytes]:
    """The strings of a tensor, and the bytes that its checksum covers.

    Stored are their lengths as varints, four bytes with the lengths' own checksum, and all characters; the checksum
    covers the lengths as fixed-width integers instead.
    """
    lengths = []
    position = 0
    for _ in range(count):
        length, position = read_varint(data, position)
        lengths.append(length)
    begin = position + 4
    if begin + sum(lengths) != len(data):
        raise ValueError(f"{count} strings of {sum(lengths)} bytes in {len(data)} bytes")
    order: Literal["little", "big"] = "little" if is_little_endian else "big"
    strings = []
    for length in lengths:
        strings.append(data[begin : begin + length])
        begin += length
    fixed = b"".join(length.to_bytes(4 if length < 1 << 32 else 8, order) for length in lengths)
    return strings, fixed + data[position:]
