"""What a checkpoint holds, by name."""

from typing import Any

import numpy as np

from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.strategy.host import to_arrays

GLOBAL_STEP = "global_step"


def variable_names(checkpoint: Checkpoint) -> list[str]:
    """Sorted names of weights, optimizer slots and the global step."""
    return sorted([*checkpoint.model_shapes, *checkpoint.optimizer_shapes, GLOBAL_STEP])


def variable_value(checkpoint: Checkpoint, name: str) -> Any:
    """The value of a name as a NumPy array.

    Raises:
        ValueError: the checkpoint has no such name.
    """
    if name == GLOBAL_STEP:
        return np.int64(checkpoint.step)
    if name in checkpoint.model_shapes:
        return to_arrays([checkpoint.read_model(name)])[0]
    if name in checkpoint.optimizer_shapes:
        return to_arrays([checkpoint.read_optimizer(name)])[0]
    raise ValueError(
        f"The checkpoint {checkpoint.path} has no variable {name!r}. It has: {variable_names(checkpoint)[:30]}."
    )
