"""Reading safetensors files: what they hold, one tensor, or all of it straight into a model's own memory."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event

import torch
from torch import Tensor

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import FileDigest, NoHash, StreamHash
from torchestimator.checkpoint.filesystem import CHUNK_BYTES
from torchestimator.checkpoint.host_memory import HostBuffers, byte_view, chunks, copy_bits, is_plain, split
from torchestimator.checkpoint.mismatch import NameDifferences, compare, shorten
from torchestimator.checkpoint.parallel import check_going_on
from torchestimator.checkpoint.tensor_header import TensorEntry, read_header

# Below this, reading tensors together through a buffer is cheaper than a read and a hash call for each.
_GATHER_BYTES = 1 << 20


class TensorFile:
    """A safetensors file, opened for reading. Only its header is read until a tensor is asked for.

    Tied tensors, stored once, appear under each of their names. No file stays open between calls.

    Args:
        path: The file, written by `write_tensors` or any other safetensors writer.
        digest: What the file must be. When given, size and header are checked now, and each call that returns values
            checks the whole file first or while it reads.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointDamagedError: It is no intact safetensors file, or another one than `digest` tells of.
    """

    def __init__(self, path: str, digest: FileDigest | None = None) -> None:
        self.path = path
        self._digest = digest
        self._is_verified = digest is None
        with _opened(path) as descriptor:
            if digest is not None:
                digest.check_size(path, os.fstat(descriptor).st_size)
            header, header_bytes = read_header(descriptor, path)
        self._data_start = len(header_bytes)
        if digest is not None and hashlib.sha256(header_bytes).hexdigest() != digest.header_sha256:
            raise CheckpointDamagedError(path, "the sha256 of its header differs")
        self._stored = {entry.name: entry for entry in header.entries}
        self.aliases: Mapping[str, str] = header.aliases
        """Further names of tied tensors, each with the name it is stored under."""
        self.metadata: Mapping[str, str] = header.metadata
        """The writer's notes."""

    @property
    def shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each tensor, by name; read from the header alone."""
        entries = self._stored | {alias: self._stored[name] for alias, name in self.aliases.items()}
        return {name: (entry.dtype, entry.shape) for name, entry in entries.items()}

    def verify(self, stop: Event | None = None) -> None:
        """Reads the whole file and checks its sha256, if a digest was given and nothing has checked it yet."""
        if not self._is_verified:
            self.read_into({}, strict=False, stop=stop)

    def read(self, name: str) -> Tensor:
        """Reads one tensor into new host memory.

        Raises:
            ValueError: The file has no tensor of that name.
            CheckpointDamagedError: The file is not what its digest tells of.
        """
        entry = self._stored.get(self.aliases.get(name, name))
        if entry is None:
            raise ValueError(
                f"{self.path} has no tensor of that name; it has {shorten(list(self.shapes))}. Received: {name!r}"
            )
        self.verify()
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        with _opened(self.path) as descriptor, NoHash() as no_hash:
            reader = _Reader(descriptor, self.path, no_hash, pinned=False, stop=None)
            reader.skip(self._data_start + entry.start)
            reader.read_tensor(entry, tensor)
            reader.flush()
        return tensor

    def read_into(
        self, targets: Mapping[str, Tensor], strict: bool = True, stop: Event | None = None
    ) -> NameDifferences:
        """Fills existing tensors from the file, in one pass over it and with no memory besides a few buffers.

        Names and shapes are checked before anything is changed. A wrong sha256 shows at the end only: after a
        `CheckpointDamagedError` the values of `targets` are undefined.

        Args:
            targets: The tensors to fill, by name, on any device and of any strides.
            strict: Whether the file must have exactly these names; otherwise those that both have are read.
            stop: When set by another thread, reading ends with `StoppedError`.

        Returns:
            The names that only one side has.

        Raises:
            ValueError: Names, shapes or dtypes do not fit.
            CheckpointDamagedError: The file is not what its digest tells of.
        """
        differences = compare(targets, self.shapes, self.path, strict)
        wanted: dict[str, list[Tensor]] = {}
        for name, target in targets.items():
            wanted.setdefault(self.aliases.get(name, name), []).append(target.detach())
        pinned = any(target.is_cuda for target in targets.values())
        with _opened(self.path) as descriptor, NoHash() if self._digest is None else StreamHash() as stream_hash:
            reader = _Reader(descriptor, self.path, stream_hash, pinned, stop)
            reader.skip(self._data_start)
            for name, entry in self._stored.items():
                if name in wanted:
                    reader.read_tensor(entry, wanted[name][0])
                else:
                    reader.skip(entry.num_bytes)
            reader.flush()
            if self._digest is not None and stream_hash.hexdigest() != self._digest.sha256:
                raise CheckpointDamagedError(self.path, "its sha256 differs from the one it was written with")
        self._is_verified = True
        for first, *others in wanted.values():
            for other in others:
                other.copy_(first)
        return differences


def read_tensors(path: str) -> dict[str, Tensor]:
    """Reads a whole safetensors file into new host memory; tied tensors come back tied.

    Args:
        path: The file.

    Returns:
        All tensors by name, further names of tied ones included.
    """
    file = TensorFile(path)
    stored = {
        name: torch.empty(shape, dtype=dtype)
        for name, (dtype, shape) in file.shapes.items()
        if name not in file.aliases
    }
    file.read_into(stored, strict=False)
    return stored | {alias: stored[name] for alias, name in file.aliases.items()}


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Reader:
    """Reads a file front to back: large plain tensors to where they belong, others through buffers."""

    def __init__(self, descriptor: int, path: str, stream_hash: StreamHash, pinned: bool, stop: Event | None) -> None:
        self._descriptor = descriptor
        self._path = path
        self._hash = stream_hash
        self._buffers = HostBuffers(pinned)
        self._planned: list[tuple[Tensor, torch.dtype]] = []
        self._planned_bytes = 0
        self._stop = stop

    def read_tensor(self, entry: TensorEntry, target: Tensor) -> None:
        """Fills `target` with the next bytes of the file, at the latest at the next `flush`."""
        if target.dtype == entry.dtype and is_plain(target) and entry.num_bytes >= _GATHER_BYTES:
            self.flush()
            for chunk in chunks(byte_view(target)):
                self._fill(chunk)
                self._hash.update(chunk)
        elif entry.num_bytes:
            for piece in split(target, CHUNK_BYTES // entry.dtype.itemsize):
                num_bytes = piece.numel() * entry.dtype.itemsize
                if self._planned_bytes + num_bytes > CHUNK_BYTES:
                    self.flush()
                self._planned.append((piece, entry.dtype))
                self._planned_bytes += num_bytes

    def skip(self, num_bytes: int) -> None:
        """Passes over bytes that nobody wants; they are hashed all the same."""
        self.flush()
        if isinstance(self._hash, NoHash):
            os.lseek(self._descriptor, num_bytes, os.SEEK_CUR)
            return
        for start in range(0, num_bytes, CHUNK_BYTES):
            self._read_buffer(min(CHUNK_BYTES, num_bytes - start))

    def flush(self) -> None:
        """Reads what was planned and hands it out."""
        if not self._planned:
            return
        buffer = self._read_buffer(self._planned_bytes)
        start = 0
        for piece, dtype in self._planned:
            end = start + piece.numel() * dtype.itemsize
            values = buffer[start:end]
            if start % dtype.itemsize:
                values = values.clone()
            _assign(piece, values.view(dtype).view(piece.shape))
            start = end
        self._planned.clear()
        self._planned_bytes = 0

    def _read_buffer(self, num_bytes: int) -> Tensor:
        buffer = self._buffers.take()
        view = byte_view(buffer[:num_bytes])
        self._fill(view)
        self._buffers.give_back(buffer, self._hash.update(view))
        return buffer

    def _fill(self, view: memoryview) -> None:
        check_going_on(self._stop)
        rest = view
        while rest:
            num_read = os.readv(self._descriptor, [rest])
            if not num_read:
                raise CheckpointDamagedError(self._path, "it was cut while being read")
            rest = rest[num_read:]


def _assign(target: Tensor, values: Tensor) -> None:
    if target.dtype == values.dtype and not target.is_conj() and not target.is_neg():
        copy_bits(target, values)
    else:
        target.copy_(values)
