"""Batches of several sources as one."""

import numpy as np
import pytest
import torch

from tests.models import linear_input
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.input_fn import open_input
from torchestimator.inputs.iterator import InputMismatchError
from torchestimator.tpu.joined_input import JoinedInput, joined


def opened(batch_size, num_epochs=1):
    return open_input(linear_input(batch_size, num_epochs), "train", {}, None, InputContext())


def rows(batches):
    return [np.asarray(features["x"])[:, 0].tolist() for features, _ in batches]


def test_several_batches_of_one_source_make_a_batch():
    assert rows(JoinedInput([opened(2)], 3)) == rows(opened(6))


def test_sources_are_taken_in_turn():
    both = list(JoinedInput([opened(2), opened(2)], 1))
    (features, labels), single = both[0], next(opened(2))
    assert np.asarray(features["x"]).tolist() == [*np.asarray(single[0]["x"]).tolist()] * 2
    assert len(labels) == 4
    assert len(both) == 11


def test_it_goes_on_where_it_was():
    source = JoinedInput([opened(2)], 3)
    next(source)
    state = source.state_dict()
    rest = rows(source)
    again = JoinedInput([opened(2)], 3)
    assert again.load_state_dict(state)
    assert rows(again) == rest
    assert rest
    anew = JoinedInput([opened(2)], 3)
    assert anew.load_state_dict(source.state_dict())
    assert len(rows(anew)) == 4
    with pytest.raises(InputMismatchError, match="positions of 1 inputs, and there are 2"):
        JoinedInput([opened(2), opened(2)], 1).load_state_dict(state)


def test_structures():
    part = {"a": torch.ones(2, 3), "b": (np.ones(2), [1, 2])}
    whole = joined([part, part])
    assert whole["a"].shape == (4, 3)
    assert whole["b"][0].shape == (4,)
    assert whole["b"][1].tolist() == [1, 2, 1, 2]
