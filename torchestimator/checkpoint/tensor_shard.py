"""One safetensors file: what it holds, checked against its digest, and reading parts of it."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event

import torch
from torch import Tensor

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import FileDigest, NoHash, StreamHash
from torchestimator.checkpoint.tensor_header import TensorEntry, read_header
from torchestimator.checkpoint.tensor_part import Box, whole
from torchestimator.checkpoint.tensor_reader import TensorReader


class TensorShard:
    """A safetensors file, opened for reading. Only its header is read until a tensor is asked for.

    It holds whole tensors, or one process's parts of them. No file stays open between calls.

    Args:
        path: The file.
        digest: What the file must be. When given, size and header are checked now, and each call that returns values
            checks the whole file first or while it reads.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointDamagedError: It is no intact safetensors file, or another one than `digest` tells of.
    """

    def __init__(self, path: str, digest: FileDigest | None = None) -> None:
        self.path = path
        """Where it is."""
        self._digest = digest
        self._is_verified = digest is None
        with _opened(path) as descriptor:
            if digest is not None:
                digest.check_size(path, os.fstat(descriptor).st_size)
            header, header_bytes = read_header(descriptor, path)
        self._data_start = len(header_bytes)
        if digest is not None and hashlib.sha256(header_bytes).hexdigest() != digest.header_sha256:
            raise CheckpointDamagedError(path, "the sha256 of its header differs")
        self.entries: Mapping[str, TensorEntry] = {entry.name: entry for entry in header.entries}
        """What it holds, by name, in file order."""
        self.aliases: Mapping[str, str] = header.aliases
        """Further names of tied tensors, each with the name it is stored under."""
        self.metadata: Mapping[str, str] = header.metadata
        """The writer's notes."""

    def verify(self, stop: Event | None = None) -> None:
        """Reads the whole file and checks its sha256, if a digest was given and nothing has checked it yet."""
        if not self._is_verified:
            self.read_parts({}, stop)

    def read(self, name: str) -> Tensor:
        """Reads what it holds of one tensor into new host memory."""
        self.verify()
        entry = self.entries[name]
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        with _opened(self.path) as descriptor, NoHash() as no_hash:
            reader = TensorReader(descriptor, self.path, no_hash, pinned=False, stop=None)
            reader.skip(self._data_start + entry.start)
            reader.read(entry.dtype, entry.shape, whole(entry.shape), tensor)
            reader.flush()
        return tensor

    def read_parts(self, wanted: Mapping[str, tuple[Box, Tensor]], stop: Event | None = None) -> None:
        """Fills existing tensors in one pass over the file, with no memory besides a few buffers.

        With a digest the pass goes over all of the file, and otherwise over what is wanted. A wrong sha256 shows at
        the end only: after a `CheckpointDamagedError` the values of the tensors are undefined.

        Args:
            wanted: By stored name a part, counted from the first element that the file has of that tensor, and the
                tensor of that part's shape to fill.
            stop: When set by another thread, reading ends with `StoppedError`.

        Raises:
            CheckpointDamagedError: The file is not what its digest tells of.
        """
        pinned = any(target.is_cuda for _, target in wanted.values())
        with _opened(self.path) as descriptor, NoHash() if self._digest is None else StreamHash() as stream_hash:
            reader = TensorReader(descriptor, self.path, stream_hash, pinned, stop)
            reader.skip(self._data_start)
            for name, entry in self.entries.items():
                if name in wanted:
                    reader.read(entry.dtype, entry.shape, *wanted[name])
                else:
                    reader.skip(entry.num_bytes)
            reader.flush()
            if self._digest is not None and stream_hash.hexdigest() != self._digest.sha256:
                raise CheckpointDamagedError(self.path, "its sha256 differs from the one it was written with")
        self._is_verified = True


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
