"""The learning rates of ready-made estimators."""

import pytest

from torchestimator.optim import default_rates


def test_rates_of_linear_models_shrink_with_the_number_of_columns():
    assert default_rates.linear_rate(1) == default_rates.linear_rate(25) == 0.2
    assert default_rates.linear_rate(30) == pytest.approx(0.18257, abs=1e-5)
    assert default_rates.combined_linear_rate(10) == 0.005
    assert default_rates.combined_linear_rate(250_000) == 0.002
