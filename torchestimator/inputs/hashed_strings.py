"""Strings whose fingerprints are known: an input that hands out strings need not hash them batch by batch."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class HashedStrings(np.ndarray[Any, Any]):
    """An array of strings with their int64 fingerprints; in all else an ordinary array."""

    fingerprints: torch.Tensor | None = None

    def __array_finalize__(self, source: Any) -> None:
        """Views and copies are of other strings, so they have no fingerprints."""
        self.fingerprints = None


def with_fingerprints(strings: NDArray[Any], fingerprints: NDArray[np.int64]) -> HashedStrings:
    """Strings together with their fingerprints.

    Args:
        strings: [rows, ...].
        fingerprints: of the same shape; in memory of their own, which becomes the batch's.
    """
    hashed = strings.view(HashedStrings)
    hashed.fingerprints = torch.from_numpy(fingerprints)
    return hashed
