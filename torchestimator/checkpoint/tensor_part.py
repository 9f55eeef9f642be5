"""Which part of a tensor a process holds: all of it, or its shard of a distributed one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """A rectangular part of a tensor: along dimension `d`, elements `offsets[d]` to `offsets[d] + sizes[d]`."""

    offsets: tuple[int, ...]
    """First element, by dimension."""
    sizes: tuple[int, ...]
    """Number of elements, by dimension."""

    @property
    def num_elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.sizes)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index that cuts it out of the whole tensor."""
        return tuple(slice(start, start + size) for start, size in zip(self.offsets, self.sizes, strict=True))

    def overlap(self, other: "Box") -> "Box":
        """What two boxes of one tensor share; of zero elements if nothing."""
        starts = tuple(map(max, self.offsets, other.offsets))
        ends = map(min, self._ends, other._ends)
        return Box(starts, tuple(max(0, end - start) for start, end in zip(starts, ends, strict=True)))

    def seen_from(self, other: "Box") -> "Box":
        """The same box, counted from the first element of another one that holds it."""
        return Box(tuple(own - start for own, start in zip(self.offsets, other.offsets, strict=True)), self.sizes)

    @property
    def _ends(self) -> tuple[int, ...]:
        return tuple(start + size for start, size in zip(self.offsets, self.sizes, strict=True))


def whole(shape: Sequence[int]) -> Box:
    """The box that is a whole tensor of that shape."""
    return Box((0,) * len(shape), tuple(shape))


@dataclass(frozen=True)
class TensorPart:
    """A tensor, as far as this process holds it."""

    shape: tuple[int, ...]
    """Shape of the whole tensor."""
    box: Box
    """Which part of it this is."""
    local: Tensor
    """The values of that part, in this process's memory."""
    shard_dim: int | None = None
    """The dimension it is cut along, each process holding a part of its own; None: each process has all of it."""
    index: int = 0
    """Which of those parts this is."""
    num_parts: int = 1
    """How many parts there are."""


class _Placement(Protocol):
    dim: int

    def is_shard(self) -> bool: ...

    def is_replicate(self) -> bool: ...


class _Mesh(Protocol):
    ndim: int

    def size(self) -> int: ...

    def get_local_rank(self) -> int: ...


class _Distributed(Protocol):
    """What is asked of `torch.distributed.tensor.DTensor`, whose module takes half a second to import."""

    device_mesh: _Mesh
    placements: Sequence[_Placement]

    def to_local(self) -> Tensor: ...


def part_of(tensor: Tensor, name: str) -> TensorPart:
    """The part of a tensor that lies in this process.

    Args:
        tensor: A plain tensor, or a DTensor on a mesh of one dimension, replicated or sharded along one of its own
            dimensions as `torch.chunk` does; shards may be uneven and empty.
        name: How the caller's user calls it, for errors.

    Raises:
        ValueError: The DTensor is placed in another way.
    """
    shape = tuple(tensor.shape)
    if not hasattr(tensor, "placements"):
        return TensorPart(shape, whole(shape), tensor)
    distributed = cast("_Distributed", tensor)
    mesh, placements = distributed.device_mesh, distributed.placements
    with torch.no_grad():
        local = distributed.to_local()
    if not math.prod(shape):
        # Parts without elements say nothing about the shape of the whole.
        return TensorPart(shape, whole(shape), local.new_empty(shape))
    if mesh.ndim == 1 and placements[0].is_replicate():
        return TensorPart(shape, whole(shape), local)
    if mesh.ndim == 1 and placements[0].is_shard():
        dim = placements[0].dim % len(shape)
        index, num_parts = mesh.get_local_rank(), mesh.size()
        box = shard_box(shape, dim, index, num_parts)
        if tuple(local.shape) == box.sizes:
            return TensorPart(shape, box, local, dim, index, num_parts)
    raise ValueError(
        f"{name} must be replicated, or sharded along one dimension as torch.chunk does, on a mesh of one dimension; "
        "redistribute it first (`tensor.redistribute(placements=[Replicate()])`). "
        f"Received: placements {list(cast('Any', placements))} on a mesh of {mesh.ndim} dimensions, shape "
        f"{list(shape)}, in this process {list(local.shape)}"
    )


def shard_box(shape: Sequence[int], dim: int, index: int, count: int) -> Box:
    """The part number `index` when a tensor is cut along `dim` into `count` parts as `torch.chunk` does.

    All parts have the size of the first one but the last non-empty one, which may be smaller; further ones are empty.
    """
    size = -(-shape[dim] // count)
    start = min(index * size, shape[dim])
    offsets, sizes = [0] * len(shape), list(shape)
    offsets[dim] = start
    sizes[dim] = min(size, shape[dim] - start)
    return Box(tuple(offsets), tuple(sizes))
