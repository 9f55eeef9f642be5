"""A model's mode for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

from torchestimator.model.module import ModelFnModule


@contextmanager
def inference(module: ModelFnModule, mode: str) -> Iterator[None]:
    """Runs a block with the model in another mode, and puts back the one it was in."""
    before = module.mode
    module.set_mode(mode)
    try:
        yield
    finally:
        module.set_mode(before)
