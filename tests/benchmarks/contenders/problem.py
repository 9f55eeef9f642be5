"""What all contenders work on: a 20-64-64-3 network, batches of 128 out of 12,800 rows in memory, Adam."""

import numpy as np
from numpy.typing import NDArray

NUM_ROWS = 12_800
WIDTH = 20
HIDDEN = 64
CLASSES = 3
BATCH = 128
LEARNING_RATE = 1e-3


def arrays() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features [rows, 20] and class ids [rows]."""
    random = np.random.default_rng(0)
    return random.standard_normal((NUM_ROWS, WIDTH)).astype(np.float32), random.integers(0, CLASSES, NUM_ROWS)
