"""Reading safetensors files: what they hold, one tensor, or all of it straight into a model's own memory."""

import math
from collections.abc import Iterable, Mapping, Sequence
from threading import Event

import torch
from torch import Tensor

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import FileDigest
from torchestimator.checkpoint.mismatch import NameDifferences, compare, shorten
from torchestimator.checkpoint.tensor_header import TensorEntry
from torchestimator.checkpoint.tensor_part import Box, TensorPart, part_of
from torchestimator.checkpoint.tensor_shard import TensorShard


class TensorFile:
    """A safetensors file, opened for reading, or one that several processes wrote a shard each of.

    Tied tensors, stored once, appear under each of their names. Only headers are read until a tensor is asked for.

    Args:
        path: The file, written by `write_tensors` or any other safetensors writer.
        digest: What the file must be. When given, size and header are checked now, and each call that returns values
            checks the whole file first or while it reads.
        shards: The opened files that `path` stands for; None: there is one, at `path`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointDamagedError: It is no intact safetensors file, or another one than `digest` tells of.
    """

    def __init__(
        self, path: str, digest: FileDigest | None = None, *, shards: Sequence[TensorShard] | None = None
    ) -> None:
        self.path = path
        self._shards = [TensorShard(path, digest)] if shards is None else shards
        self._pieces: dict[str, list[tuple[TensorShard, TensorEntry]]] = {}
        self.aliases: Mapping[str, str] = {}
        """Further names of tied tensors, each with the name it is stored under."""
        self.metadata: Mapping[str, str] = {}
        """The writer's notes."""
        for shard in self._shards:
            self.aliases = {**self.aliases, **shard.aliases}
            self.metadata = {**self.metadata, **shard.metadata}
            for name, entry in shard.entries.items():
                self._pieces.setdefault(name, []).append((shard, entry))
        self._shapes = {name: self._whole_shape(name) for name in self._pieces}

    @property
    def shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each tensor, by name; read from the headers alone."""
        return self._shapes | {alias: self._shapes[name] for alias, name in self.aliases.items()}

    def verify(self, stop: Event | None = None) -> None:
        """Reads everything and checks its sha256, if a digest was given and nothing has checked it yet."""
        for shard in self._shards:
            shard.verify(stop)

    def read(self, name: str) -> Tensor:
        """Reads one tensor into new host memory.

        Raises:
            ValueError: The file has no tensor of that name.
            CheckpointDamagedError: The file, or a shard that has a part of the tensor, is not what its digest tells of.
        """
        pieces = self._pieces.get(self.aliases.get(name, name))
        if pieces is None:
            raise ValueError(
                f"{self.path} has no tensor of that name; it has {shorten(list(self.shapes))}. Received: {name!r}"
            )
        dtype, shape = self.shapes[name]
        if len(pieces) == 1:
            shard, entry = pieces[0]
            return shard.read(entry.name)
        tensor = torch.empty(shape, dtype=dtype)
        for shard, entry in pieces:
            tensor[entry.box.slices] = shard.read(entry.name)
        return tensor

    def read_into(
        self, targets: Mapping[str, Tensor], strict: bool = True, stop: Event | None = None
    ) -> NameDifferences:
        """Fills existing tensors, in one pass over each file and with no memory besides a few buffers.

        Names and shapes are checked before anything is changed. A wrong sha256 shows at the end only: after a
        `CheckpointDamagedError` the values of `targets` are undefined. Of a DTensor this process's part is filled, and
        of several shards those are read, and checked, that have something of it.

        Args:
            targets: The tensors to fill, by name, on any device and of any strides.
            strict: Whether the file must have exactly these names; otherwise those that both have are read.
            stop: When set by another thread, reading ends with `StoppedError`.

        Returns:
            The names that only one side has.

        Raises:
            ValueError: Names, shapes or dtypes do not fit, or a DTensor is placed in a way that is not supported.
            CheckpointDamagedError: A file is not what its digest tells of.
        """
        differences = compare(targets, self.shapes, self.path, strict)
        wanted: dict[str, list[TensorPart]] = {}
        for name, target in targets.items():
            stored = self.aliases.get(name, name)
            if stored in self._pieces:
                wanted.setdefault(stored, []).append(part_of(target.detach(), f"`{name}`"))
        self._fill({name: parts[0] for name, parts in wanted.items()}, stop)
        while wanted := {name: rest for name, parts in wanted.items() if (rest := _without_copies(parts))}:
            self._fill({name: parts[0] for name, parts in wanted.items()}, stop)
        return differences

    def _fill(self, parts: Mapping[str, TensorPart], stop: Event | None) -> None:
        for shard in self._shards:
            wanted: dict[str, tuple[Box, Tensor]] = {}
            for name, entry in shard.entries.items():
                if name in parts:
                    part = parts[name]
                    box = part.box.overlap(entry.box)
                    if box.num_elements:
                        wanted[name] = (box.seen_from(entry.box), part.local[box.seen_from(part.box).slices])
            if wanted or len(self._shards) == 1:
                shard.read_parts(wanted, stop)

    def _whole_shape(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """Dtype and shape of a tensor, which its pieces must fill without gaps."""
        entries = [entry for _, entry in self._pieces[name]]
        shape = tuple(max(ends) for ends in zip(*(_ends(entry) for entry in entries), strict=True))
        if {entry.dtype for entry in entries} != {entries[0].dtype} or (
            sum(entry.box.num_elements for entry in entries) != math.prod(shape)
        ):
            raise CheckpointDamagedError(
                self.path, f"the parts of {name} in its {len(self._shards)} files do not make a whole tensor"
            )
        return entries[0].dtype, shape


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


def _ends(entry: TensorEntry) -> Iterable[int]:
    return (start + size for start, size in zip(entry.offsets, entry.shape, strict=True))


def _without_copies(parts: Sequence[TensorPart]) -> list[TensorPart]:
    """The parts that are yet to be filled, once those that equal the first one were copied from it."""
    first, *others = parts
    for other in others:
        if other.box == first.box:
            other.local.copy_(first.local)
    return [other for other in others if other.box != first.box]
