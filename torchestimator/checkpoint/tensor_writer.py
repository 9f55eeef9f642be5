"""Writing tensors into a safetensors file in one pass, hashed on the way, without a copy of the whole."""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Event

import torch
from torch import Tensor

from torchestimator.checkpoint.digest import FileDigest, StreamHash
from torchestimator.checkpoint.filesystem import CHUNK_BYTES, DurableFile
from torchestimator.checkpoint.group import ALONE, Group
from torchestimator.checkpoint.host_memory import HostBuffers, byte_view, chunks, copy_bits, is_plain, split
from torchestimator.checkpoint.tensor_header import ALIASES_KEY, DTYPE_NAMES, TensorEntry, TensorHeader, encode_header
from torchestimator.checkpoint.tensor_part import TensorPart, part_of

# Below this, gathering tensors in a buffer is cheaper than a write and a hash call for each.
_GATHER_BYTES = 1 << 20


def write_tensors(path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> FileDigest:
    """Writes tensors as a safetensors file that is on disk when this returns.

    Tied tensors (same memory, seen alike) are stored once; `TensorFile` gives them back under each of their names.
    Tensors may lie on any device, have any strides and no or zero dimensions. Extra memory is a few buffers, whatever
    the size of the tensors.

    Args:
        path: The file to write; an existing one is overwritten, and after an error it is gone.
        tensors: What to write, by name.
        metadata: Notes to keep in the file.

    Returns:
        Size and sha256 of the file.

    Raises:
        TypeError: Something in `tensors` cannot be stored; nothing was written.
        OSError: The file cannot be written.
    """
    return plan_tensor_file(tensors, "tensors", metadata).write(path)


@dataclass(frozen=True)
class TensorFilePlan:
    """A tensor file that was checked and laid out, and is yet to be written."""

    header: TensorHeader
    """What the file's header will say."""
    header_bytes: bytes
    """The header, encoded."""
    tensors: tuple[Tensor, ...]
    """The tensors to store, in file order: this process's parts of them."""
    layout: Mapping[str, str]
    """Dtype, shape and placement of every tensor that was given, by name: the same on all processes."""

    @property
    def is_shard(self) -> bool:
        """Whether it takes the files of all processes to have the tensors, instead of that of process 0."""
        return self.header.is_shard

    def written_from(self, tensors: tuple[Tensor, ...]) -> "TensorFilePlan":
        """The same file, its data taken from other tensors, which have the same bytes in the same order."""
        return replace(self, tensors=tensors)

    @property
    def num_bytes(self) -> int:
        """Length of the file."""
        return len(self.header_bytes) + self.header.data_bytes

    def write(self, path: str, stop: Event | None = None) -> FileDigest:
        """Writes the file and waits until it is on disk.

        Args:
            path: The file to write; after an error it is gone.
            stop: When set by another thread, writing ends with `StoppedError`.
        """
        try:
            with StreamHash() as stream_hash, DurableFile(path, stop) as file:
                stream = _Stream(file, stream_hash, pinned=any(tensor.is_cuda for tensor in self.tensors))
                stream.write(memoryview(self.header_bytes))
                for tensor in self.tensors:
                    stream.write_tensor(tensor)
                stream.flush()
                file.commit()
                sha256 = stream_hash.hexdigest()
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        return FileDigest(self.num_bytes, sha256, hashlib.sha256(self.header_bytes).hexdigest())


def plan_tensor_file(
    tensors: Mapping[str, Tensor], argument: str, metadata: Mapping[str, str] | None = None, group: Group = ALONE
) -> TensorFilePlan:
    """Checks that `tensors` can be stored, finds the tied ones and lays the file out. Writes nothing.

    Process 0 stores the tensors that all processes have, and each process its parts of those that are sharded.

    Args:
        tensors: What to store, by name; DTensors among them are stored by all processes of `group` together.
        argument: How the caller's user calls `tensors`, for errors.
        metadata: Notes to keep in the file.
        group: The processes that store together.

    Raises:
        TypeError: A name or value cannot be stored.
        ValueError: A name is reserved, or a DTensor is placed in a way that cannot be stored.
    """
    parts = {name: _checked_part(name, tensor, argument, group) for name, tensor in tensors.items()}
    if metadata is not None and ALIASES_KEY in metadata:
        raise ValueError(f'`metadata` may not use the key "{ALIASES_KEY}": the list of tied tensors is kept under it')
    first_names: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    for name, part in parts.items():
        first_name = first_names.setdefault((part.shape, part.box, *_memory_of(part.local)), name)
        if first_name != name:
            aliases[name] = first_name
    own = {name: parts[name].local for name in first_names.values() if _is_stored_by(group.rank, parts[name])}
    # Wide elements first: then each tensor starts at a multiple of its element size.
    names = sorted(own, key=lambda name: -own[name].element_size())
    entries = []
    start = 0
    for name in names:
        entries.append(TensorEntry(name, own[name].dtype, tuple(own[name].shape), start, parts[name].box.offsets))
        start += entries[-1].num_bytes
    is_shard = any(part.shard_dim is not None for part in parts.values())
    header = TensorHeader(tuple(entries), aliases if group.rank == 0 else {}, dict(metadata or {}), is_shard)
    layout = {name: _layout_of(part) for name, part in parts.items()}
    return TensorFilePlan(header, encode_header(header), tuple(own[name] for name in names), layout)


def _is_stored_by(rank: int, part: TensorPart) -> bool:
    return rank == 0 or (part.shard_dim is not None and part.box.num_elements > 0)


def _layout_of(part: TensorPart) -> str:
    placement = "" if part.shard_dim is None else f", sharded along dimension {part.shard_dim}"
    return f"{str(part.local.dtype).removeprefix('torch.')} {list(part.shape)}{placement}"


class _Stream:
    """Sends tensors to a file and to its hash: large plain ones from where they lie, others through buffers."""

    def __init__(self, file: DurableFile, stream_hash: StreamHash, pinned: bool) -> None:
        self._file = file
        self._hash = stream_hash
        self._buffers = HostBuffers(pinned)
        self._buffer: Tensor | None = None
        self._filled = 0

    def write(self, view: memoryview) -> None:
        for chunk in chunks(view):
            self._file.write(chunk)
            self._hash.update(chunk)

    def write_tensor(self, tensor: Tensor) -> None:
        if is_plain(tensor) and tensor.nbytes >= _GATHER_BYTES:
            self.flush()
            self.write(byte_view(tensor))
        elif tensor.numel():
            for piece in split(tensor.detach(), CHUNK_BYTES // tensor.element_size()):
                self._gather(piece)

    def flush(self) -> None:
        """Writes out what was gathered."""
        if self._buffer is not None:
            view = byte_view(self._buffer[: self._filled])
            self._file.write(view)
            self._buffers.give_back(self._buffer, self._hash.update(view))
            self._buffer = None

    def _gather(self, piece: Tensor) -> None:
        if self._buffer is not None and self._filled + piece.nbytes > CHUNK_BYTES:
            self.flush()
        if self._buffer is None:
            self._buffer = self._buffers.take()
            self._filled = 0
        end = self._filled + piece.nbytes
        copy_bits(self._buffer[self._filled : end].view(piece.dtype).view(piece.shape), piece)
        self._filled = end


def _checked_part(name: str, tensor: Tensor, argument: str, group: Group) -> TensorPart:
    if not isinstance(name, str):
        raise TypeError(f"the keys of `{argument}` must be strings. Received: {name!r} of type {type(name).__name__}")
    where = f"`{argument}[{name!r}]`"
    if name == "__metadata__" or not _is_utf8(name):
        raise ValueError(f'a tensor\'s name must be valid text other than "__metadata__". Received: {where}')
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{where} must be a tensor; numbers, strings, lists and dicts belong into `state`. "
            f"Received: {tensor!r:.100} of type {type(tensor).__name__}"
        )
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        raise TypeError(f"{where} has no values yet; build the model, on a real device, before saving it")
    part = part_of(tensor, where)
    if part.shard_dim is not None and (part.index, part.num_parts) != (group.rank, group.num_replicas):
        raise ValueError(
            f"{where} is sharded over {part.num_parts} processes, all of which must save together; pass them as "
            f"`group`, or save `full_tensor()` of it. Received: part {part.index} of {part.num_parts} in process "
            f"{group.rank} of {group.num_replicas}"
        )
    _check_storable(where, part.local)
    return part


def _check_storable(where: str, tensor: Tensor) -> None:
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__ or tensor.layout != torch.strided:
        raise TypeError(
            f"{where} must be a dense tensor, plain or a DTensor; convert it first (`to_dense()` of a sparse one, "
            f"`full_tensor()` of one that is sharded in another way). Received: {type(tensor).__name__} with layout "
            f"{tensor.layout}"
        )
    if tensor.dtype not in DTYPE_NAMES or (tensor.dtype == torch.float4_e2m1fn_x2 and tensor.dim() == 0):
        raise TypeError(
            f"{where} has a dtype that the safetensors format cannot hold; convert it "
            f"(complex128: `torch.view_as_real`), or keep another one. Received: {tensor.dim()}-d {tensor.dtype}"
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _memory_of(tensor: Tensor) -> tuple[object, ...]:
    """A key that tensors share exactly when they are the same values in the same memory."""
    try:
        address = tensor.untyped_storage().data_ptr() if tensor.numel() else 0
    except RuntimeError:
        address = 0
    if not address:
        # No memory at all, or none that has an address: only the very same object is known to be tied.
        return (id(tensor),)
    return (
        tensor.device,
        address,
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
        tensor.is_conj(),
        tensor.is_neg(),
    )
