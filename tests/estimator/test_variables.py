"""What a checkpoint holds, by name."""

import re

import numpy as np
import pytest
import torch

from tests.models import restless_estimator, restless_input
from torchestimator.checkpoint import Checkpoint, CheckpointStore
from torchestimator.estimator.variables import variable_names, variable_value


@pytest.fixture
def checkpoint(tmp_path):
    model = {"b": torch.tensor([1.5, 2.5], dtype=torch.bfloat16), "a": torch.arange(3)}
    return Checkpoint(CheckpointStore(tmp_path).save(4, model, {"b/momentum": torch.ones(2)}, {}))


def test_names_are_sorted_with_slots_and_the_step(checkpoint):
    assert variable_names(checkpoint) == ["a", "b", "b/momentum", "global_step"]


def test_values_are_arrays(checkpoint):
    assert variable_value(checkpoint, "a").tolist() == [0, 1, 2]
    assert variable_value(checkpoint, "b").dtype == np.float32
    assert variable_value(checkpoint, "b").tolist() == [1.5, 2.5]
    assert variable_value(checkpoint, "b/momentum").tolist() == [1, 1]
    assert variable_value(checkpoint, "global_step") == 4


def test_an_unknown_name_is_answered_with_those_there_are(checkpoint):
    with pytest.raises(ValueError, match=r"no variable 'c'\. It has: \['a', 'b', 'b/momentum', 'global_step'\]"):
        variable_value(checkpoint, "c")


def test_variables_of_the_newest_checkpoint(tmp_path):
    estimator = restless_estimator(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"no trained model in {tmp_path}. Call train first")):
        estimator.get_variable_names()
    assert estimator.latest_checkpoint() is None
    estimator.train(restless_input(), steps=2)
    names = estimator.get_variable_names()
    assert names == sorted(names)
    assert {"global_step", "net.layers.0.weight", "net.layers.0.weight/exp_avg", "net.layers.1.running_var"} <= set(
        names
    )
    assert estimator.get_variable_value("global_step") == 2
    assert estimator.get_variable_value("net.layers.0.weight").shape == (8, 3)
    step, slot = estimator.get_variable_value(["global_step", "net.layers.0.bias/exp_avg"])
    assert step == 2
    assert slot.shape == (8,)
    with pytest.raises(ValueError, match=r"no variable 'weight'\. It has"):
        estimator.get_variable_value("weight")
    assert estimator.latest_checkpoint() == str(tmp_path / "model.ckpt-2")
