"""Copies of tensors in host memory, so that training may go on while they are written."""

import torch
from torch import Tensor

from torchestimator.checkpoint.contents import CheckpointContents
from torchestimator.checkpoint.host_memory import copy_bits
from torchestimator.checkpoint.tensor_writer import TensorFilePlan


class SnapshotMemory:
    """Host memory for one snapshot, allocated by the first and used again by the next ones.

    It is as large as the tensor data that this process writes. It is page-locked where tensors come from a CUDA
    device, which then copies at full speed.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, contents: CheckpointContents) -> CheckpointContents:
        """Copies what is to be written and returns the same contents, independent of the tensors from now on.

        The snapshot before it must have been written. All copies are started before the first is waited for.
        """
        copied = {name: self._copied(name, plan) for name, plan in contents.tensor_files.items()}
        tensors = [tensor for plan in contents.tensor_files.values() for tensor in plan.tensors]
        for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
            torch.cuda.current_stream(device).synchronize()
        return contents.written_from(copied)

    def release(self) -> None:
        """Frees the memory."""
        self._buffers.clear()

    def _copied(self, name: str, plan: TensorFilePlan) -> TensorFilePlan:
        num_bytes = plan.header.data_bytes
        buffer = self._buffer(name, num_bytes, pinned=any(tensor.is_cuda for tensor in plan.tensors))
        for entry, tensor in zip(plan.header.entries, plan.tensors, strict=True):
            target = buffer[entry.start : entry.start + entry.num_bytes].view(entry.dtype).view(entry.shape)
            copy_bits(target, tensor.detach(), non_blocking=tensor.is_cuda)
        # In the order of the file, the copies are its data.
        return plan.written_from((buffer[:num_bytes],))

    def _buffer(self, name: str, num_bytes: int, pinned: bool) -> Tensor:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < num_bytes or buffer.is_pinned() != pinned:
            # The old one goes first: there is never memory for two.
            self._buffers.pop(name, None)
            del buffer
            self._buffers[name] = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=pinned)
        return self._buffers[name]
