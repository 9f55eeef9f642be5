"""Reads event files with TensorBoard's own readers."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader


def load(logdir: Path) -> EventAccumulator:
    """Return what TensorBoard sees in a folder, all of it."""
    every = {"scalars": 0, "images": 0, "audio": 0, "histograms": 0, "tensors": 0}
    accumulator = EventAccumulator(str(logdir), size_guidance=every)
    accumulator.Reload()
    return accumulator


def events(logdir: Path) -> list[Any]:
    """Return the events of every file of a folder, as they stand there."""
    return [event for path in sorted(logdir.iterdir()) for event in LegacyEventFileLoader(str(path)).Load()]
