"""Writing event files."""

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from torchestimator.summary import protos
from torchestimator.summary.arrays import ArraySummary
from torchestimator.summary.event_file import EventFile
from torchestimator.summary.fetch import to_host
from torchestimator.summary.histograms import HistogramSummary
from torchestimator.summary.images import ImageSummary
from torchestimator.summary.item import SummaryItem
from torchestimator.summary.scalars import ScalarSummary
from torchestimator.summary.texts import TextSummary

logger = logging.getLogger(__name__)

_MAX_OPEN_FILES = 64
"""Writers of the cache that keep their file open; the least recently used ones open theirs again when they write."""


class SummarySink(ABC):
    """Where summaries go: an event file, or nowhere on the ranks that do not write."""

    @abstractmethod
    def write(self, items: Sequence[SummaryItem], step: int) -> None:
        """Write what a `Recorder` collected, as one event; the tensors are copied to the host here, all at once."""

    @abstractmethod
    def session_start(self, step: int) -> None:
        """Begin a run whose first event is at `step`: readers drop what an interrupted run wrote from there on."""

    @abstractmethod
    def checkpoint_saved(self, step: int, path: str) -> None:
        """Note that the checkpoint `path` was saved at `step`."""

    @abstractmethod
    def flush(self) -> None:
        """Force what was written to the disk."""

    @abstractmethod
    def close(self) -> None:
        """Write nothing more."""

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Write the results of an evaluation, or other numbers, as one event.

        An array of more than one value is kept as a tensor, for tools. What is neither is left out with a warning: a
        result that cannot be shown should not cost the evaluation.

        Args:
            values: Tag to number, array or tensor.
            step: Global step.
        """
        items: list[SummaryItem] = []
        for tag, value in values.items():
            many = isinstance(value, (torch.Tensor, np.ndarray)) and value.shape not in ((), (1,))
            try:
                items.append(ArraySummary.of(tag, value) if many else ScalarSummary.of(tag, value))
            except TypeError as error:
                logger.warning("No summary is written for %r at step %d: %s", tag, step, error)
        self.write(items, step)

    def text(self, tag: str, string_or_list: str | Sequence[str], step: int) -> None:
        """Write text for TensorBoard's text dashboard."""
        self.write([TextSummary.of(tag, string_or_list)], step)

    def tensor_string(self, tag: str, value: str, step: int) -> None:
        """Write a string that only tools read, such as `checkpoint_path` beside the results of an evaluation."""
        self.write([TextSummary.of(tag, value, plugin="")], step)

    def image(self, tag: str, tensor: torch.Tensor, step: int, max_outputs: int = 3, dataformats: str = "NCHW") -> None:
        """Write pictures; the arguments are those of `summary.image`."""
        self.write([ImageSummary.of(tag, tensor, max_outputs, dataformats)], step)

    def histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        """Write a histogram; the arguments are those of `summary.histogram`."""
        self.write([HistogramSummary.of(tag, values)], step)


class NullEventWriter(SummarySink):
    """Writes nothing."""

    def write(self, items: Sequence[SummaryItem], step: int) -> None:
        """Do nothing."""

    def session_start(self, step: int) -> None:
        """Do nothing."""

    def checkpoint_saved(self, step: int, path: str) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class EventWriter(SummarySink):
    """Appends events to one file of a folder; `event_file` says how the file behaves.

    Use `event_writer(logdir)` to share one writer per folder.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        """Remember the folder; the first event creates it.

        Args:
            logdir: Folder of the event file.
        """
        self._file = EventFile(logdir)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file.closed

    def write(self, items: Sequence[SummaryItem], step: int) -> None:
        """Write what a `Recorder` collected, as one event; the tensors are copied to the host here, all at once.

        Args:
            items: `Recorder.items`; without any, nothing is written.
            step: Global step.

        Raises:
            RuntimeError: The writer is closed.
            OSError: The event could not be written; the file holds what it held before.
        """
        arrays = iter(to_host([tensor for item in items for tensor in item.tensors]))
        values = [value for item in items for value in item.encode([next(arrays) for _ in item.tensors])]
        if values:
            self._append(step, summary=protos.summary(values))

    def session_start(self, step: int) -> None:
        """Begin a run whose first event is at `step`: readers drop what an interrupted run wrote from there on."""
        self._append(step, session_log=protos.session_start())

    def checkpoint_saved(self, step: int, path: str) -> None:
        """Note that the checkpoint `path` was saved at `step`."""
        self._append(step, session_log=protos.session_checkpoint(path))

    def flush(self) -> None:
        """Force what was written to the disk, against a crash of the machine; readers see it without this."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; `event_writer` then gives a new writer."""
        self._file.close()

    def release(self) -> None:
        """Give the open file back to the operating system until the next event."""
        self._file.release()

    def _append(self, step: int, **content: protos.Message) -> None:
        self._file.append(protos.event(time.time(), int(step), **content))


_lock = threading.Lock()
_writers: OrderedDict[str, EventWriter] = OrderedDict()


def event_writer(logdir: str | os.PathLike[str]) -> EventWriter:
    """Return the writer of a folder, the same one for the whole process as long as it is not closed.

    So a process adds one file to each folder, however often it trains or evaluates (what TensorFlow's `FileWriterCache`
    did). Files are closed when the process ends.

    Args:
        logdir: Folder of the event file.
    """
    path = os.path.realpath(logdir)
    with _lock:
        writer = _writers.get(path)
        if writer is None or writer.closed:
            writer = _writers[path] = EventWriter(path)
        _writers.move_to_end(path)
        for older in list(_writers.values())[:-_MAX_OPEN_FILES]:
            older.release()
    return writer


def _start_over_in_child() -> None:
    """Give a forked child its own cache lock: another thread of the parent may have held the old one."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_start_over_in_child)
