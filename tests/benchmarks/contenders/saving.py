"""500 MB of weights with Adam's slots, and what it is to save them in the background: shared by those who do."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tests.benchmarks.contenders.requests import Requests

_NUM_BYTES = 500_000_000
_NUM_LAYERS = 20
_NUM_WARM_UPS = 1

Save = Callable[[int, Path, dict[str, Tensor], dict[str, Tensor]], Callable[[], None]]
"""Takes a step, a folder, weights and slots; returns, as soon as training may go on, how to wait for the write."""


def stall(requests: Requests, save: Save) -> None:
    """Answers how long a save keeps training waiting, as a multiple of copying the state into memory at hand.

    Both are measured in turn, while nothing is being written. The first save is not counted.
    """
    _serve(requests, save, lambda copy, stalled, written: stalled / copy)


def written(requests: Requests, save: Save) -> None:
    """Answers the seconds from the call until the write has ended."""
    _serve(requests, save, lambda copy, stalled, written: written)


def _serve(requests: Requests, save: Save, answer: Callable[[float, float, float], float]) -> None:
    size = _NUM_BYTES // 4 // 3 // _NUM_LAYERS
    weights = {f"layer{index}.weight": torch.randn(size) for index in range(_NUM_LAYERS)}
    slots = {f"{name}/{slot}": torch.rand(size) for name in weights for slot in ("exp_avg", "exp_avg_sq")}
    tensors = [*weights.values(), *slots.values()]
    memory = [torch.zeros_like(tensor) for tensor in tensors]

    def copy() -> None:
        for target, tensor in zip(memory, tensors, strict=True):
            target.copy_(tensor)

    with tempfile.TemporaryDirectory() as folder:
        step = 0
        for count in requests:
            answers = []
            for number in range(_NUM_WARM_UPS + count):
                step += 1
                copy_secs = statistics.median(_seconds(copy) for _ in range(5))
                started = time.perf_counter()
                wait = save(step, Path(folder), weights, slots)
                stalled = time.perf_counter() - started
                wait()
                if number >= _NUM_WARM_UPS:
                    answers.append(answer(copy_secs, stalled, time.perf_counter() - started))
            requests.answer(statistics.median(answers))


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
