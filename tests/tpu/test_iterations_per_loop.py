"""Forms of iterations_per_loop."""

import pytest

from torchestimator.tpu.iterations_per_loop import parse_iterations_per_loop


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1, (1, "count")),
        (100, (100, "count")),
        ("100", (100, "count")),
        ("10s", (10, "seconds")),
        ("5m", (300, "seconds")),
        ("1h", (3600, "seconds")),
    ],
)
def test_forms(given, expected):
    assert parse_iterations_per_loop(given) == expected


@pytest.mark.parametrize("given", [0, -1, "0", "0s", "s", "", "1d", "10 s", "1.5m", "10|", 2.0, None, True])
def test_other_forms_are_refused(given):
    with pytest.raises(ValueError, match="`iterations_per_loop` must be a positive number of steps, or a time"):
        parse_iterations_per_loop(given)
