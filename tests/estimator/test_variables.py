"""What a checkpoint holds, by name."""

import numpy as np
import pytest
import torch

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
