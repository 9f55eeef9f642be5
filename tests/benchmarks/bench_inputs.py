"""Shuffled batches out of arrays against a hand-written loop, fingerprints of strings, and what reading ahead costs.

Rates are medians of interleaved rounds on one thread, so that a busy machine slows both sides of a ratio alike.
"""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchestimator.inputs import fingerprint64, numpy_input_fn
from torchestimator.inputs.prefetch import InlineBatches, Prefetcher
from torchestimator.inputs.sources import IterableInput

_BATCH = 128
_WIDTH = 20


def run(num_rows: int = 500_000, num_strings: int = 500_000, num_rounds: int = 7) -> list[tuple[str, float, str]]:
    """Measures on one thread.

    Args:
        num_rows: rows of the arrays that are batched, 20 float32 and a label each.
        num_strings: strings that are hashed in one call.
        num_rounds: how often each measurement is taken.

    Returns:
        Rows of (name, number, note).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*_batches(num_rows, num_rounds), *_fingerprints(num_strings, num_rounds), *_prefetch(num_rounds)]
    finally:
        torch.set_num_threads(threads)


def _batches(num_rows: int, num_rounds: int) -> list[tuple[str, float, str]]:
    x = np.random.default_rng(0).random((num_rows, _WIDTH), dtype=np.float32)
    y = np.arange(num_rows)
    input_fn = numpy_input_fn({"x": x}, y, batch_size=_BATCH, shuffle=True)
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "ours": input_fn,
        "hand": lambda: _by_hand(torch.from_numpy(x), torch.from_numpy(y)),
    }
    secs = _interleaved({name: functools.partial(_drain, way) for name, way in ways.items()}, num_rounds)
    per_batch = secs["ours"] / num_rows * _BATCH * 1e6
    return [
        ("numpy_input_fn, shuffled", num_rows / secs["ours"], f"rows/s of {_WIDTH} floats; {per_batch:.1f} us a batch"),
        ("numpy_input_fn against x[perm[i:i+b]]", secs["hand"] / secs["ours"], "times as fast, permutations included"),
    ]


def _by_hand(x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    order = torch.randperm(len(x))
    for start in range(0, len(x), _BATCH):
        rows = order[start : start + _BATCH]
        yield {"x": x[rows]}, y[rows]


def _fingerprints(num_strings: int, num_rounds: int) -> list[tuple[str, float, str]]:
    ids = np.random.default_rng(0).integers(0, 10**7, num_strings).astype("U8")
    long = np.char.multiply(ids[: num_strings // 10], 13).astype("U100")
    forms: dict[str, NDArray[Any]] = {
        "S8": ids.astype("S8"),
        "U8": ids,
        "object, 8 characters": ids.astype(object),
        "U100": long,
        "object, 100 characters": long.astype(object),
    }
    secs = _interleaved(
        {name: functools.partial(fingerprint64, strings) for name, strings in forms.items()}, num_rounds
    )
    return [(f"fingerprint64, {name}", forms[name].size / secs[name], "strings/s") for name in forms]


def _prefetch(num_rounds: int) -> list[tuple[str, float, str]]:
    """A training step of about half a millisecond on batches that cost 0.3 ms to make."""
    net = torch.nn.Sequential(torch.nn.Linear(_WIDTH, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    optimizer = torch.optim.Adam(net.parameters())
    noise = np.random.default_rng(0).random(16_000)

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    def batches(slow: bool) -> Iterator[torch.Tensor]:
        x = torch.rand(_BATCH, _WIDTH)
        for _ in range(200):
            if slow:
                np.sort(noise)
            yield x

    def train(prefetch: bool, slow: bool) -> None:
        source = IterableInput(batches(slow))
        stream = Prefetcher(source, lambda raw: raw[0], 4) if prefetch else InlineBatches(source, lambda raw: raw[0])
        for x in stream:
            step(x)
        stream.close()

    secs = _interleaved(
        {
            "fast, in place": lambda: train(False, False),
            "fast, ahead": lambda: train(True, False),
            "slow, in place": lambda: train(False, True),
            "slow, ahead": lambda: train(True, True),
        },
        num_rounds,
    )
    return [
        ("reading ahead, fast source", secs["fast, in place"] / secs["fast, ahead"], "times as fast as in place"),
        ("reading ahead, slow source", secs["slow, in place"] / secs["slow, ahead"], "times as fast as in place"),
    ]


def _drain(batches: Callable[[], Iterable[Any]]) -> None:
    for _ in batches():
        pass


def _interleaved(ways: dict[str, Callable[[], Any]], num_rounds: int) -> dict[str, float]:
    """Median seconds of each way, measured in turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _, (name, way) in itertools.product(range(num_rounds), ways.items()):
        started = time.perf_counter()
        way()
        taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(secs) for name, secs in taken.items()}
