"""Filling tensors from the bytes of a file, front to back."""

import math
import os
from dataclasses import dataclass
from threading import Event

import torch
from torch import Tensor

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import NoHash, StreamHash
from torchestimator.checkpoint.filesystem import CHUNK_BYTES
from torchestimator.checkpoint.host_memory import HostBuffers, byte_view, chunks, copy_bits, is_plain, split
from torchestimator.checkpoint.parallel import check_going_on
from torchestimator.checkpoint.tensor_part import Box, whole

# Below this, reading tensors together through a buffer is cheaper than a read and a hash call for each.
_GATHER_BYTES = 1 << 20


@dataclass(frozen=True)
class _Planned:
    """Bytes that are to be read into a buffer with others, and handed out from there."""

    target: Tensor
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Of what is read."""
    slices: tuple[slice, ...]
    """What of it goes to `target`."""

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorReader:
    """Reads a file front to back: large plain tensors to where they belong, others through buffers.

    Args:
        descriptor: The open file.
        path: Its name, for errors.
        stream_hash: Gets every byte that is read or passed over.
        pinned: Read through page-locked memory, for targets on accelerators.
        stop: When set by another thread, reading ends with `StoppedError`.
    """

    def __init__(self, descriptor: int, path: str, stream_hash: StreamHash, pinned: bool, stop: Event | None) -> None:
        self._descriptor = descriptor
        self._path = path
        self._hash = stream_hash
        self._buffers = HostBuffers(pinned)
        self._planned: list[_Planned] = []
        self._planned_bytes = 0
        self._stop = stop

    def read(self, dtype: torch.dtype, shape: tuple[int, ...], box: Box, target: Tensor) -> None:
        """Fills `target`, at the latest at the next `flush`, from a part of the tensor that comes next in the file.

        Args:
            dtype: The tensor's dtype in the file.
            shape: Its shape.
            box: The part of it that is wanted.
            target: What to fill, of that part's shape; of another floating-point dtype, maybe.
        """
        if box == whole(shape):
            self._read_all(dtype, target)
            return
        row_shape, columns = shape[1:], Box(box.offsets[1:], box.sizes[1:])
        row_bytes = math.prod(row_shape) * dtype.itemsize
        self.skip(box.offsets[0] * row_bytes)
        if columns == whole(row_shape):
            self._read_all(dtype, target)
        elif row_bytes > CHUNK_BYTES:
            for row in target:
                self.read(dtype, row_shape, columns, row)
        else:
            num_rows = CHUNK_BYTES // row_bytes
            for start in range(0, len(target), num_rows):
                rows = target[start : start + num_rows]
                self._plan(_Planned(rows, dtype, (len(rows), *row_shape), (slice(None), *columns.slices)))
        self.skip((shape[0] - box.offsets[0] - box.sizes[0]) * row_bytes)

    def skip(self, num_bytes: int) -> None:
        """Passes over bytes that nobody wants; they are hashed all the same."""
        if not num_bytes:
            return
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
        for planned in self._planned:
            end = start + planned.num_bytes
            values = buffer[start:end]
            if start % planned.dtype.itemsize:
                values = values.clone()
            _assign(planned.target, values.view(planned.dtype).view(planned.shape)[planned.slices])
            start = end
        self._planned.clear()
        self._planned_bytes = 0

    def _read_all(self, dtype: torch.dtype, target: Tensor) -> None:
        num_bytes = target.numel() * dtype.itemsize
        if target.dtype == dtype and is_plain(target) and num_bytes >= _GATHER_BYTES:
            self.flush()
            for chunk in chunks(byte_view(target)):
                self._fill(chunk)
                self._hash.update(chunk)
        elif num_bytes:
            for piece in split(target, CHUNK_BYTES // dtype.itemsize):
                self._plan(_Planned(piece, dtype, tuple(piece.shape), ()))

    def _plan(self, planned: _Planned) -> None:
        if self._planned_bytes + planned.num_bytes > CHUNK_BYTES:
            self.flush()
        self._planned.append(planned)
        self._planned_bytes += planned.num_bytes

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
