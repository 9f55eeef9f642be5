"""Hashes on the device: integers are 64 bits wide there too, but not all operators are what they are on the CPU."""

import pytest
import torch

from torchestimator.feature_column.hashing import (
    crossed_with,
    fingerprint_of_integers,
    mixed_for_cross,
    unsigned_remainder,
)

LIMITS = torch.iinfo(torch.int64)
EDGES = torch.tensor([LIMITS.min, LIMITS.min + 1, -10, -1, 0, 1, 9, 10, 12345, LIMITS.max])


@pytest.mark.parametrize(
    "function",
    [
        lambda values: unsigned_remainder(values, 7),
        lambda values: unsigned_remainder(values, 1 << 20),
        fingerprint_of_integers,
        mixed_for_cross,
        lambda values: crossed_with(values, mixed_for_cross(values.flip(0))),
    ],
    ids=["remainder", "power of two", "integers", "mixed", "crossed"],
)
def test_they_are_those_of_the_cpu(strategy, function):
    generator = torch.Generator().manual_seed(1)
    values = torch.cat([EDGES, torch.randint(LIMITS.min, LIMITS.max, (200,), generator=generator)])
    assert function(values.to(strategy.device)).cpu().tolist() == function(values).tolist()
