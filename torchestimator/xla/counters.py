"""Counts of what makes a program slow on XLA devices."""

import importlib
from typing import Any, NamedTuple

from torchestimator.xla.runtime import load

_READ = "aten::_local_scalar_dense"
"""`tensor.item()`, which is one of the reads."""


class Counters(NamedTuple):
    """What has happened in this process so far."""

    compilations: int
    """Graphs that were compiled: after the first steps there should be no new ones."""
    reads: int
    """Times at which the host waited for values of the device."""
    fallbacks: dict[str, int]
    """Operations that ran on the host instead, by name, with their number."""


def counters() -> Counters:
    """The counts as they are now; the difference of two tells what happened between them.

    Raises:
        ImportError: torch_xla is not installed.
        RuntimeError: it does not fit torch.
    """
    load()
    metrics: Any = importlib.import_module("torch_xla.debug.metrics")
    names = [name for name in metrics.counter_names() if name.startswith("aten::") and name != _READ]
    reads = metrics.metric_data("TransferFromDeviceTime")
    return Counters(
        compilations=metrics.counter_value("UncachedCompile") or 0,
        reads=reads[0] if reads else 0,
        fallbacks={name.removeprefix("aten::"): metrics.counter_value(name) for name in names},
    )
