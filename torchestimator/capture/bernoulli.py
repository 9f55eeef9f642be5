"""Draws of dropout's masks that a compiled step computes fast."""

import torch
from torch import Tensor

_WORD = 2**32


def bernoulli_(tensor: Tensor, p: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Fills a tensor with ones, each with probability `p`, and zeros: what `Tensor.bernoulli_` is traced as.

    On CPUs TorchInductor (2.9 to 2.13) runs `bernoulli_` as a call of its own, and may move what reads the mask in
    front of it: the step would compute with uninitialised memory. Its own random numbers, which are fast on CUDA, are
    computed one by one on a CPU, at 10 ns an element (`bernoulli_` takes 6): in a transformer that is a fifth of the
    step. Hashes of the elements' numbers are computed with vector instructions, at 1 ns.

    Args:
        tensor: what to fill.
        p: probability of a one.
        generator: not followed; the draws come from torch's default generator.
    """
    if generator is not None:
        return NotImplemented  # type: ignore[no-any-return]
    is_hashed = tensor.device.type == "cpu" and tensor.numel() < _WORD // 2
    return tensor.copy_(_hashed(tensor, p) if is_hashed else torch.rand_like(tensor, dtype=torch.float32) < p)


def _hashed(tensor: Tensor, p: float) -> Tensor:
    """Booleans of a tensor's shape: the numbers of its elements, hashed with two words that are drawn each time."""
    threshold = round(p * _WORD) - _WORD // 2
    if threshold == _WORD // 2:
        return torch.ones_like(tensor, dtype=torch.bool)
    keys = torch.randint(-_WORD // 2, _WORD // 2, (2,), dtype=torch.int32, device=tensor.device)
    numbers = torch.arange(tensor.numel(), dtype=torch.int32, device=tensor.device)
    # One key alone would give two draws, now and then, the same mask in another order.
    words = _mixed(_mixed(numbers ^ keys[0]) ^ keys[1])
    return (words < threshold).view(tensor.shape)


def _mixed(words: Tensor) -> Tensor:
    """A bijection of 32-bit words whose every output bit depends on every input bit.

    It is the finalizer of MurmurHash3 (Appleby) with the multipliers of lowbias32
    (https://nullprogram.com/blog/2018/07/31/), whose outputs are further from being biased.
    """
    words = (words ^ _shifted(words, 16)) * 0x7FEB352D
    words = (words ^ _shifted(words, 15)) * (0x846CA68B - _WORD)
    return words ^ _shifted(words, 16)


def _shifted(words: Tensor, count: int) -> Tensor:
    """Words shifted to the right with zeros following, as if they had no sign."""
    return (words >> count) & ((1 << (32 - count)) - 1)
