"""Seeds that depend on names, and random states that are put back."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_WITHOUT_GENERATOR = ("cpu", "meta")
"""Kinds of devices that have no random generator besides the CPU's, which is kept in any case."""


def derive_seed(base: int, name: str) -> int:
    """A seed in [0, 2**63) that is a fixed function of a base seed and a name.

    Derived by hashing, so that neighbouring base seeds or names give unrelated streams.
    """
    digest = hashlib.sha256(f"{base}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_generators(device: torch.device | None, seed: int) -> None:
    """Starts torch's generators (the CPU's and that of `device`), NumPy's global one and Python's anew."""
    # torch.manual_seed would seed all devices, also those whose generators nobody puts back.
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type not in _WITHOUT_GENERATOR:
        # What torch.cuda is to CUDA devices; packages of other devices add theirs to torch.
        accelerator = torch.get_device_module(device)
        with accelerator.device(device):
            accelerator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def forked_random(device: torch.device | None = None, seed: int | None = None) -> Iterator[None]:
    """Runs a block on its own random numbers and puts the global generators back afterwards.

    Covers torch (CPU, and `device` where it has a generator of its own), NumPy's global generator
    and Python's `random`: a factory may use any of them.

    Args:
        device: whose generator is to be kept besides the CPU's.
        seed: what the generators start from inside; None: their current states.
    """
    devices, kind = [], "cuda"
    if device is not None and device.type not in _WITHOUT_GENERATOR:
        devices, kind = [device], device.type
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    try:
        with torch.random.fork_rng(devices=devices, device_type=kind):
            if seed is not None:
                seed_generators(device, seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
