"""Batches on an XLA device."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from torchestimator.inputs.prefetch import Batches
from torchestimator.strategy.strategy import Batch
from torchestimator.tree import map_tensors
from torchestimator.xla.step_watch import StepWatch


class XlaStream:
    """Batches that are read ahead on the host and copied when the loop asks for them.

    Asking for a batch is where the work that was recorded since the last one is started, for loops whose steps have
    no end of their own, as evaluation has not.

    Args:
        batches: on the host.
        place: copies a tensor to the device.
        begin_step: starts what was recorded, and takes in who watches the coming step.
    """

    def __init__(
        self, batches: Batches[Batch], place: Callable[[Tensor], Tensor], begin_step: Callable[[StepWatch], None]
    ) -> None:
        self._batches = batches
        self._place = place
        self._begin_step = begin_step
        self._watch = StepWatch()

    @property
    def wait_secs(self) -> float:
        """Seconds the loop has waited for data so far."""
        return self._batches.wait_secs

    def __next__(self) -> Batch:
        self._begin_step(self._watch)
        features, labels, strings = next(self._batches)
        batch = Batch(self._placed(features), None if labels is None else self._placed(labels), strings)
        self._watch.begin(batch)
        return batch

    def state_dict(self) -> dict[str, Any] | None:
        """The input's position after the batches given out so far; None where it can't be told."""
        return self._batches.state_dict()

    def close(self) -> None:
        """Stops reading ahead and frees what the input holds."""
        self._batches.close()

    def _placed(self, structure: Any) -> Any:
        return map_tensors(self._place, structure)
