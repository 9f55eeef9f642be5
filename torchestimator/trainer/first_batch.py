"""A stream with its first batch looked at before the loop begins."""

from typing import Any

from torchestimator.strategy.strategy import Batch, BatchStream


class FirstBatch:
    """A batch stream whose first batch is read early, to build the model from, and given out again.

    Until the loop has taken that batch, the stream's position is the one before it: a checkpoint
    written at the start would lose a batch otherwise.

    Args:
        stream: the batches.

    Raises:
        StopIteration: there is no batch at all.
    """

    def __init__(self, stream: BatchStream) -> None:
        self._stream = stream
        self._position = stream.state_dict()
        self.first: Batch = next(stream)
        self._waiting: Batch | None = self.first

    @property
    def wait_secs(self) -> float:
        """Seconds spent waiting for data so far."""
        return self._stream.wait_secs

    def __next__(self) -> Batch:
        if self._waiting is not None:
            batch, self._waiting = self._waiting, None
            return batch
        return next(self._stream)

    def state_dict(self) -> dict[str, Any] | None:
        """The input's position after the batches given out so far."""
        return self._position if self._waiting is not None else self._stream.state_dict()

    def close(self) -> None:
        """Closes the stream."""
        self._stream.close()
