"""Dynamic batching: requests that arrive while another is computed are computed together."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from torchestimator.export.loader import LoadedSignature
from torchestimator.export.runtime import Arrays
from torchestimator.serving.metrics import ServerMetrics
from torchestimator.serving.request_error import RequestError
from torchestimator.serving.worker_threads import WorkerThreads


class Backlog:
    """How many requests may wait in the whole server, so that overload is told instead of piling up.

    Args:
        limit: requests that wait or are being computed.
        metrics: what is told of changes.
    """

    def __init__(self, limit: int, metrics: ServerMetrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._count = 0

    def __enter__(self) -> None:
        if self._count >= self._limit:
            raise RequestError(
                503, f"The server is busy: {self._count} requests are waiting already. Send the request again later."
            )
        self._count += 1
        self._metrics.queue_is(self._count)

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        self._metrics.queue_is(self._count)


@dataclass(slots=True, eq=False)
class _Call:
    """A request in the queue."""

    inputs: Arrays
    """What `LoadedSignature.check` gave."""
    outputs: tuple[str, ...] | None
    """Keys of the outputs that were asked for; None: all."""
    answer: asyncio.Future[Arrays]
    """Gets the outputs, or the error."""
    rows: int
    """Size of the batch."""
    sizes: tuple[tuple[int, ...], ...]
    """What must be equal to be computed together: the shapes without the batch."""


class Batcher:
    """Computes the requests of one signature.

    A request never waits for others unless `timeout_secs` says so: what arrives during a computation becomes the next
    batch. Only requests with equal shapes, apart from the batch, are put together. If a batch fails, its requests are
    computed one by one, so that only those at fault get an error.

    Args:
        signature: what computes.
        model: its name in the metrics.
        workers: where.
        backlog: of all models together.
        metrics: what is told of batches.
        max_rows: of a batch; 1: no batching. A request of more rows is computed alone.
        timeout_secs: how long the first request of a batch waits for others, at most.
    """

    def __init__(
        self,
        signature: LoadedSignature,
        model: str,
        workers: WorkerThreads,
        backlog: Backlog,
        metrics: ServerMetrics,
        max_rows: int,
        timeout_secs: float,
    ) -> None:
        self.signature = signature
        self._model = model
        self._workers = workers
        self._backlog = backlog
        self._metrics = metrics
        self._max_rows = max_rows
        self._timeout_secs = timeout_secs
        self._is_batched = signature.is_batched
        self._is_batching = max_rows > 1 and self._is_batched
        self._waiting: deque[_Call] = deque()
        self._is_computing = False
        self._timer: asyncio.Handle | None = None

    async def compute(self, inputs: Arrays, outputs: Sequence[str] | None) -> Arrays:
        """The outputs for one request.

        Args:
            inputs: what `LoadedSignature.check` gave.
            outputs: keys of the outputs to compute; None: all.

        Raises:
            RequestError: too many requests are waiting.
        """
        with self._backlog:
            call = self._call(inputs, outputs)
            if self._is_batching:
                self._waiting.append(call)
                self._wait_or_compute()
            else:
                self._start([call])
            return await call.answer

    def _call(self, inputs: Arrays, outputs: Sequence[str] | None) -> _Call:
        answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        rows = len(next(iter(inputs.values()))) if self._is_batched else 1
        sizes = tuple(array.shape[1:] for array in inputs.values())
        return _Call(inputs, None if outputs is None else tuple(outputs), answer, rows, sizes)

    def _wait_or_compute(self) -> None:
        if self._is_computing:
            return
        loop = asyncio.get_running_loop()
        is_full = sum(call.rows for call in self._waiting) >= self._max_rows
        if self._timer is None:
            # Not at once even without a timeout: other requests may have been read in this turn of the loop.
            is_now = is_full or self._timeout_secs == 0
            self._timer = loop.call_soon(self._next) if is_now else loop.call_later(self._timeout_secs, self._next)
        elif is_full and self._timeout_secs > 0:
            self._timer.cancel()
            self._timer = loop.call_soon(self._next)

    def _next(self) -> None:
        """Starts to compute the first waiting request, and those that fit with it."""
        self._timer = None
        group = [self._waiting.popleft()]
        rows = group[0].rows
        kept: deque[_Call] = deque()
        while self._waiting and rows < self._max_rows:
            call = self._waiting.popleft()
            if call.sizes == group[0].sizes and rows + call.rows <= self._max_rows:
                group.append(call)
                rows += call.rows
            else:
                kept.append(call)
        self._waiting = kept + self._waiting
        self._is_computing = True
        self._start(group)

    def _start(self, group: list[_Call]) -> None:
        loop = asyncio.get_running_loop()
        self._metrics.computed(self._model, sum(call.rows for call in group))
        self._workers.submit(partial(self._work, loop, group))

    def _work(self, loop: asyncio.AbstractEventLoop, group: list[_Call]) -> None:
        loop.call_soon_threadsafe(self._deliver, group, self._results(group))

    def _results(self, group: Sequence[_Call]) -> list[Arrays | Exception]:
        try:
            if len(group) == 1:
                return [self.signature.run(group[0].inputs, group[0].outputs)]
            return list(self._merged(group))
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on and the client is told
            return [error] if len(group) == 1 else [self._results([call])[0] for call in group]

    def _merged(self, group: Sequence[_Call]) -> Iterable[Arrays]:
        inputs = {key: np.concatenate([call.inputs[key] for call in group]) for key in group[0].inputs}
        wanted = {key for call in group for key in call.outputs or self.signature.outputs}
        outputs = self.signature.run(inputs, [key for key in self.signature.outputs if key in wanted])
        rows = sum(call.rows for call in group)
        if any(len(array) != rows for array in outputs.values()):
            raise ValueError("An output of the model has no row for each row of the batch.")
        begin = 0
        for call in group:
            end = begin + call.rows
            yield {key: outputs[key][begin:end] for key in call.outputs or outputs}
            begin = end

    def _deliver(self, group: Sequence[_Call], results: Sequence[Arrays | Exception]) -> None:
        for call, result in zip(group, results, strict=True):
            if call.answer.done():  # the server is being stopped
                continue
            if isinstance(result, Exception):
                call.answer.set_exception(result)
            else:
                call.answer.set_result(result)
        if self._is_batching:
            self._is_computing = False
            if self._waiting:
                self._next()
