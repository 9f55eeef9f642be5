"""Tensors of every dtype, shape and layout for the tests of this folder, and bitwise comparison."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from torchestimator.checkpoint.tensor_header import DTYPE_NAMES

_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def random_tensor(dtype: torch.dtype, shape: tuple[int, ...], layout: str = "contiguous", seed: int = 0) -> Tensor:
    """A tensor of random bits; NaNs of all kinds are among them."""
    generator = torch.Generator().manual_seed(seed)
    carrier = _CARRIERS[dtype.itemsize]
    limits = torch.iinfo(carrier)
    high = 2 if dtype == torch.bool else limits.max
    low = 0 if dtype == torch.bool else limits.min
    base_shape = {
        "contiguous": shape,
        "transposed": shape[::-1],
        "strided": (*shape[:-1], shape[-1] * 2 + 1) if shape else (),
        "expanded": (1, *shape[1:]) if shape else (),
    }[layout]
    base = torch.randint(low, high, base_shape, dtype=carrier, generator=generator)
    if layout == "transposed":
        base = base.permute(tuple(reversed(range(base.dim()))))
    elif layout == "strided" and shape:
        base = base[..., 1::2]
    elif layout == "expanded" and shape:
        base = base.expand(shape)
    return base.view(dtype)


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors agree in dtype, shape and each bit."""
    carrier = _CARRIERS[first.element_size()]
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and torch.equal(first.view(carrier), second.view(carrier))
    )


def contiguous(tensor: Tensor) -> Tensor:
    """A copy without strides; torch itself cannot make one of every dtype."""
    return tensor.view(_CARRIERS[tensor.element_size()]).clone(memory_format=torch.contiguous_format).view(tensor.dtype)


def zeros_like(tensor: Tensor) -> Tensor:
    """Zeros of the same dtype and shape; torch itself cannot make them of every dtype."""
    return torch.zeros(tensor.shape, dtype=_CARRIERS[tensor.element_size()]).view(tensor.dtype)


def tensors(max_side: int = 6) -> st.SearchStrategy[Tensor]:
    """Tensors of all dtypes that can be stored, with and without dimensions and elements, of all layouts."""
    return st.builds(
        random_tensor,
        dtype=st.sampled_from(sorted(DTYPE_NAMES, key=str)),
        shape=st.lists(st.integers(0, max_side), max_size=4).map(tuple),
        layout=st.sampled_from(["contiguous", "transposed", "strided", "expanded"]),
        seed=st.integers(0, 2**31),
    ).filter(lambda tensor: tensor.dtype != torch.float4_e2m1fn_x2 or tensor.dim() > 0)


def named_tensors() -> st.SearchStrategy[dict[str, Tensor]]:
    """Several of them under names in any script."""
    names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")
    return st.dictionaries(names, tensors(), max_size=6)
