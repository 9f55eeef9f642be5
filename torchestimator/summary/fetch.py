"""Copying the tensors of many summaries to the host."""

from collections.abc import Sequence

import numpy as np
import torch


def to_host(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Return the values of `tensors` as arrays, in their order.

    Each copy from an accelerator waits for everything queued on it, so the tensors are joined where they are and copied
    together: one copy per device and data type (at most a handful) instead of one per summary.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype), []).append(index)
    arrays: dict[int, np.ndarray] = {}
    for indices in groups.values():
        joined = torch.cat([tensors[index].reshape(-1) for index in indices]).cpu().numpy()
        ends = np.cumsum([tensors[index].numel() for index in indices])
        for index, part in zip(indices, np.split(joined, ends[:-1]), strict=True):
            arrays[index] = part.reshape(tensors[index].shape)
    return [arrays[index] for index in range(len(tensors))]
