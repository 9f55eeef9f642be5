"""A stream whose first batch is looked at early, and whose latest batch can be taken back."""

from typing import Any

from torchestimator.strategy.strategy import Batch, BatchStream
from torchestimator.trainer.lookahead import Lookahead


class FirstBatch:
    """A batch stream whose first batch is read early, to build the model from, and given out again.

    Its position is that of the batches that were used: before the loop has taken the first batch it
    is the one in front of it, and after a step that failed the one in front of that step's batch.
    So a checkpoint written at such a moment loses no batch.

    Args:
        stream: the batches.
        tells_every_position: whether asking for the position at every batch is cheap.

    Raises:
        StopIteration: there is no batch at all.
    """

    def __init__(self, stream: BatchStream, tells_every_position: bool) -> None:
        self._stream = stream
        self.can_be_taken_back = tells_every_position
        """Whether a batch that was read, or half read, and not used is no loss."""
        self._before: dict[str, Any] | None = stream.state_dict()
        self._waiting: Batch | None = next(stream)
        self._taken_back = True

    @property
    def first(self) -> Batch:
        """The first batch, as long as it has not been given out."""
        assert self._waiting is not None
        return self._waiting

    @property
    def failure(self) -> Exception | None:
        """What the batch after this one has raised, where that is known already."""
        return self._stream.failure if isinstance(self._stream, Lookahead) else None

    @property
    def wait_secs(self) -> float:
        """Seconds spent waiting for data so far."""
        return self._stream.wait_secs

    def __next__(self) -> Batch:
        if self._waiting is not None:
            batch, self._waiting = self._waiting, None
            self._taken_back = False
            return batch
        if self.can_be_taken_back:
            self._before = self._stream.state_dict()
        return next(self._stream)

    def take_back(self) -> None:
        """Counts the latest batch as not used: its step failed."""
        self._taken_back = self._taken_back or self.can_be_taken_back

    def state_dict(self) -> dict[str, Any] | None:
        """The input's position after the batches that were used."""
        return self._before if self._taken_back else self._stream.state_dict()

    def close(self) -> None:
        """Closes the stream."""
        self._stream.close()
