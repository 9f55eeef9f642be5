"""The states of all random generators of a process, as checkpoints keep them."""

import base64
import random
from typing import Any

import numpy as np
import torch

from torchestimator.strategy.strategy import Strategy


def random_states(strategy: Strategy) -> dict[str, Any]:
    """The states of torch's generators, NumPy's global one and Python's, as JSON values."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return {
        "torch": {
            name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in strategy.random_state().items()
        },
        "numpy": [kind, base64.b64encode(np.asarray(keys, dtype="<u4").tobytes()).decode(), *rest],
        "python": [version, base64.b64encode(np.asarray(words, dtype="<u4").tobytes()).decode(), gauss],
    }


def restore_random_states(strategy: Strategy, states: dict[str, Any]) -> None:
    """Puts all generators of this process into saved states."""
    encoded = states["torch"]
    strategy.set_random_state(
        {name: torch.frombuffer(bytearray(base64.b64decode(encoded[name])), dtype=torch.uint8) for name in encoded}
    )
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.frombuffer(base64.b64decode(keys), dtype="<u4"), *rest))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(np.frombuffer(base64.b64decode(words), dtype="<u4").tolist()), gauss))
