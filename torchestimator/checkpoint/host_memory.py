"""Tensors as bytes of host memory, without copying more than a bounded buffer's worth at a time."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

import torch
from torch import Tensor

from torchestimator.checkpoint.filesystem import CHUNK_BYTES

# Two are in use at a time (one is filled, one is hashed); the third keeps both sides from waiting for each other.
_NUM_BUFFERS = 3

# Integers of the same width: copying through them moves the bits of every dtype, whatever kernels it has.
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_plain(tensor: Tensor) -> bool:
    """Whether the tensor's values lie in host memory just as a file holds them."""
    return tensor.device.type == "cpu" and tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg()


def byte_view(tensor: Tensor) -> memoryview:
    """The memory of a plain tensor as writable bytes, shared with it."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def chunks(view: memoryview) -> Iterator[memoryview]:
    """Consecutive parts of `view` of at most `CHUNK_BYTES`."""
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def split(tensor: Tensor, max_elements: int) -> Iterator[Tensor]:
    """Cuts a tensor of any strides into views of at most `max_elements`, in row-major order."""
    if tensor.numel() <= max_elements:
        yield tensor
        return
    row_elements = tensor.numel() // tensor.shape[0]
    if row_elements > max_elements:
        for row in tensor:
            yield from split(row, max_elements)
    else:
        num_rows = max_elements // row_elements
        for start in range(0, tensor.shape[0], num_rows):
            yield tensor[start : start + num_rows]


def copy_bits(target: Tensor, source: Tensor, non_blocking: bool = False) -> None:
    """Copies values between tensors of one dtype and shape, over devices and strides, without changing a bit.

    Args:
        target: Where to.
        source: Where from.
        non_blocking: Only start the copy, where a device can make it by itself.
    """
    source = source.resolve_conj().resolve_neg()
    carrier = _CARRIERS[source.element_size()]
    target.view(carrier).copy_(source.view(carrier), non_blocking=non_blocking)


class HostBuffers:
    """A ring of reusable buffers of `CHUNK_BYTES` each, allocated when first needed.

    Args:
        pinned: Take page-locked memory, which accelerators copy to and from at full speed.
    """

    def __init__(self, pinned: bool) -> None:
        self._pinned = pinned
        self._given_back: deque[tuple[Tensor, Future[None]]] = deque()
        self._num_allocated = 0

    def take(self) -> Tensor:
        """A uint8 buffer that nobody reads any more."""
        if self._num_allocated < _NUM_BUFFERS:
            self._num_allocated += 1
            return torch.empty(CHUNK_BYTES, dtype=torch.uint8, pin_memory=self._pinned)
        buffer, readers = self._given_back.popleft()
        readers.result()
        return buffer

    def give_back(self, buffer: Tensor, readers: Future[None]) -> None:
        """Returns a buffer that may be taken again when `readers` is done with it."""
        self._given_back.append((buffer, readers))
