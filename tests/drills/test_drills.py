"""A sample of each drill, so that what ends badly is seen before `make drills` is run."""

import pytest

from tests.drills.__main__ import DRILLS, run_one
from tests.drills.library import TorchEstimator
from tests.drills.training import Trainings
from tests.drills.trial import SAMPLE


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    return Trainings(TorchEstimator(), tmp_path_factory.mktemp("drills"))


@pytest.mark.parametrize("name", ["kill", "sigterm", "bits", "copy"])
def test_a_sample_ends_well(trainings, name):
    trials = run_one(DRILLS[name], trainings, SAMPLE)
    assert trials
    assert not [fault for trial in trials for fault in trial.faults]
