"""Batches at addresses on which results do not depend."""

from typing import Any

import torch
from torch import Tensor

from torchestimator.tree import map_tensors

BYTES = 64
"""What torch aligns its own CPU memory to."""


def aligned(structure: Any) -> Any:
    """The tensors of a batch in host memory, each at an address that is a multiple of 64.

    A CPU's matrix products take other paths, with other last bits, for operands at other addresses
    within a cache line. Slices of an array lie wherever their index puts them, and a NumPy array
    wherever malloc did; so without this a resumed training would see the same numbers at other
    addresses, and come to other weights. Tensors that lie well already are not copied.
    """
    for value in structure.values() if type(structure) is dict else (structure,):
        if type(value) is not Tensor or value.layout is not torch.strided or value.data_ptr() % BYTES:
            return map_tensors(_aligned, structure)
    return structure


def _aligned(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided or tensor.requires_grad or not tensor.data_ptr() % BYTES:
        return tensor
    return tensor.clone()
