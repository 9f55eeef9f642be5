"""Ready-made estimators compute what TensorFlow 2.15 recorded, from TensorFlow's own initial checkpoints."""

import numpy as np
import pytest

from tests.parity import problem
from tests.parity.comparison import ESTIMATORS, RECORDED, compare, continued


@pytest.mark.parametrize("name", ESTIMATORS)
def test_losses_metrics_and_predictions_are_tensorflows(name, tmp_path):
    found = compare(name, tmp_path)
    recorded = RECORDED[name]
    np.testing.assert_allclose(found.losses, recorded["losses"], rtol=1e-4)
    assert set(recorded["metrics"]) <= set(found.metrics)
    assert found.metric_difference < 1e-4
    (predictions,) = recorded["predictions"].values()
    np.testing.assert_allclose(found.predictions, predictions, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", problem.CONTINUED)
def test_training_goes_on_from_tensorflows_slots(name, tmp_path):
    np.testing.assert_allclose(continued(name, tmp_path), RECORDED[name]["losses"][problem.HALF :], rtol=1e-4)
