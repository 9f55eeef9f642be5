"""Copies of device tensors as NumPy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_WITHOUT_NUMPY = (torch.bfloat16,)


def to_arrays(tensors: Sequence[Tensor]) -> list[np.ndarray[Any, Any]]:
    """The tensors' values on the host; one wait for all of them.

    Tensors on the CPU are not copied. NumPy has no bfloat16: such values become float32.
    """
    waiting: set[torch.device] = set()
    copies: list[Tensor] = []
    for tensor in tensors:
        value = tensor.detach()
        if value.dtype in _WITHOUT_NUMPY:
            value = value.float()
        if value.device.type == "cuda":
            waiting.add(value.device)
            pinned = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            value = pinned.copy_(value, non_blocking=True)
        copies.append(value)
    for device in waiting:
        torch.cuda.current_stream(device).synchronize()
    return [copy.numpy(force=True) for copy in copies]
