"""What a model needs around it to be used beside a training: its mode, and random numbers of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from torchestimator.model.module import ModelFnModule
from torchestimator.strategy.strategy import Strategy


@contextmanager
def inference(module: ModelFnModule, mode: str) -> Iterator[None]:
    """Runs a block with the model in another mode, and puts back the one it was in."""
    before = module.mode
    module.set_mode(mode)
    try:
        yield
    finally:
        module.set_mode(before)


class RandomStream:
    """Torch's random numbers for work that is done bit by bit, as predictions are.

    They go on from block to block, and what runs between the blocks does not notice.

    Args:
        strategy: where the work runs; its generators' present states are the stream's beginning.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._state = strategy.random_state()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Runs a block on the stream's numbers."""
        strategy = self._strategy
        outer = strategy.random_state()
        strategy.set_random_state(self._state)
        try:
            yield
        finally:
            self._state = strategy.random_state()
            strategy.set_random_state(outer)
