"""Batches read and converted ahead of the loop, in a background thread, or just in time."""

import abc
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeVar

from torchestimator.inputs.iterator import InputIterator
from torchestimator.log import LOG

Batch = TypeVar("Batch")
Transform = Callable[[tuple[Any, Any]], Batch]
"""Turns raw `(features, labels)` into what the loop works on: conversion, pinning, the copy to the device."""

_JOIN_SECS = 5.0
"""How long `close` waits for a reader that is in the middle of a batch."""


class Batches(abc.ABC, Generic[Batch]):
    """What the loop iterates: converted batches, the position of the last one, and the time spent waiting for them."""

    wait_secs: float = 0.0
    """Seconds that `next` has spent waiting for data, since the beginning or since the loop put it back to 0."""

    def __iter__(self) -> Self:
        return self

    @abc.abstractmethod
    def __next__(self) -> Batch:
        """Returns the next batch; raises StopIteration at the end."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any] | None:
        """Returns the position after the last batch that `next` returned; see `InputIterator.state_dict`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Stops reading and closes the source. May be called more than once, and at any moment."""


def batches_of(source: InputIterator, transform: Transform[Batch], prefetch: int) -> Batches[Batch]:
    """Returns the batches of a source, read ahead in a thread if that is wanted and the source allows it.

    A source that has to be loaded with a state (`load_state_dict`) has to be so before.

    Args:
        source: where the raw batches come from.
        transform: applied to each; runs in the thread if there is one.
        prefetch: how many finished batches may wait for the loop; 0: none are read ahead.
    """
    if prefetch and source.runs_ahead:
        return Prefetcher(source, transform, prefetch)
    return InlineBatches(source, transform)


class InlineBatches(Batches[Batch]):
    """Batches read when they are asked for: no thread, the same interface."""

    def __init__(self, source: InputIterator, transform: Transform[Batch]) -> None:
        self._source = source
        self._transform = transform
        self._closed = False

    def __next__(self) -> Batch:
        started = time.perf_counter()
        raw = next(self._source)
        batch = _transformed(self._transform, raw)
        self.wait_secs += time.perf_counter() - started
        return batch

    def state_dict(self) -> dict[str, Any] | None:
        return self._source.state_dict()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._source.close()


_JUDGED_READS = 4
"""Batches after the first that are read in place before their average time counts."""


class _End:
    """Stands in the queue behind the last batch."""


_Ready = tuple[Any, dict[str, Any] | None, BaseException | _End | None]
"""A batch, the position after it, and None; or the end, with its position, or the error that ended reading."""


class Prefetcher(Batches[Batch]):
    """Batches read ahead by a background thread, once reading has proved slow enough to be worth one.

    Two Python threads hinder each other: handing the interpreter over costs a small training step 50 to 100 us. So the
    first batches are read in place, and the thread starts when they take longer than that.

    An error in the thread, whether in the source or in the transform, is raised by the `next` that would have returned
    the batch it prevented, at once and with its own traceback; the batches before it are delivered first.

    Args:
        source: where the raw batches come from; used by the thread alone once it has started, until `close`.
        transform: applied to each.
        depth: how many finished batches may wait for the loop, at least 1.
        slow_secs: the average seconds for reading a batch above which the thread starts; 0: it starts at once.
    """

    def __init__(self, source: InputIterator, transform: Transform[Batch], depth: int, slow_secs: float = 1e-4) -> None:
        self._source = source
        self._transform = transform
        self._state = source.state_dict()
        self._end: BaseException | _End | None = None
        self._reads = 0
        self._read_secs = 0.0
        self._slow_secs = slow_secs
        self._closed = False
        self._ready: SimpleQueue[_Ready] = SimpleQueue()
        self._places: SimpleQueue[int] = SimpleQueue()
        self._depth = depth
        self._refill = max(1, depth // 2)  # the thread is woken for several batches at a time
        self._taken = 0
        # the thread knows the queues, not this object: a forgotten Prefetcher is collected, and its thread ends
        self._stopped = threading.Event()
        self._stop = weakref.finalize(self, _stop, self._stopped, self._places)
        self._thread: threading.Thread | None = None
        if slow_secs == 0:
            self._start()

    def __next__(self) -> Batch:
        if self._end is not None:
            raise StopIteration if isinstance(self._end, _End) else self._end
        if self._thread is None:
            return self._read_in_place()
        try:
            batch, state, end = self._ready.get_nowait()
        except Empty:
            started = time.perf_counter()
            batch, state, end = self._ready.get()
            self.wait_secs += time.perf_counter() - started
        if end is None:
            self._state = state
            self._taken += 1
            if self._taken == self._refill:
                self._taken = 0
                self._places.put(self._refill)
            return batch  # type: ignore[no-any-return]
        self._end = end
        if isinstance(end, _End):
            self._state = state
            raise StopIteration
        raise end

    def state_dict(self) -> dict[str, Any] | None:
        return self._state

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._end = self._end or _End()
        self._stop()
        if self._thread is not None:
            self._thread.join(_JOIN_SECS)
            if self._thread.is_alive():
                LOG.warning("The input is still busy with a batch after %.0f s; its thread is left behind.", _JOIN_SECS)
                return
        self._source.close()

    def _read_in_place(self) -> Batch:
        started = time.perf_counter()
        try:
            batch = _transformed(self._transform, next(self._source))
        except BaseException as error:
            self._end = _End() if isinstance(error, StopIteration) else error
            self._state = self._source.state_dict() if isinstance(error, StopIteration) else self._state
            raise
        secs = time.perf_counter() - started
        self.wait_secs += secs
        self._state = self._source.state_dict()
        if self._reads:  # the first batch pays for opening files and starting workers
            self._read_secs += secs
            if self._reads >= _JUDGED_READS and self._read_secs > self._reads * self._slow_secs:
                self._start()
        self._reads += 1
        return batch

    def _start(self) -> None:
        self._places.put(self._depth)
        self._thread = threading.Thread(
            target=_read_ahead,
            args=(self._source, self._transform, self._stopped, self._places, self._ready),
            name="torchestimator-input",
            daemon=True,  # a reader that is blocked for ever must not keep the process alive
        )
        self._thread.start()


def _read_ahead(
    source: InputIterator,
    transform: Transform[Any],
    stopped: threading.Event,
    places: SimpleQueue[int],
    ready: SimpleQueue[_Ready],
) -> None:
    """The thread: as many batches as there are free places, then it waits for more, until it is stopped."""
    try:
        while True:
            for _ in range(places.get()):
                if stopped.is_set():
                    return
                try:
                    raw = next(source)
                except StopIteration:
                    ready.put((None, source.state_dict(), _End()))
                    return
                ready.put((_transformed(transform, raw), source.state_dict(), None))
    except BaseException as error:  # noqa: BLE001  the consumer raises it
        ready.put((None, None, error))


def _transformed(transform: Transform[Batch], raw: tuple[Any, Any]) -> Batch:
    try:
        return transform(raw)
    except StopIteration as error:  # would look like the end of the input (compare PEP 479)
        raise RuntimeError("The conversion of a batch raised StopIteration.") from error


def _stop(stopped: threading.Event, places: SimpleQueue[int]) -> None:
    stopped.set()
    places.put(1)  # wakes a thread that waits for a place
