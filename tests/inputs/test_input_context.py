"""InputContext: fields, validation, batch size per replica."""

import dataclasses

import pytest

from torchestimator.inputs import InputContext


def test_the_default_is_one_of_everything():
    context = InputContext()
    assert dataclasses.astuple(context) == (1, 0, 1)
    assert context.get_per_replica_batch_size(7) == 7


def test_the_global_batch_is_shared_out():
    assert InputContext(2, 1, 8).get_per_replica_batch_size(64) == 8


@pytest.mark.parametrize("size", [30, 0, -8, 7])
def test_a_batch_that_cannot_be_shared_out_is_refused(size):
    with pytest.raises(ValueError, match=rf"`global_batch_size`.*8 replicas.*Received: global_batch_size={size}\."):
        InputContext(num_replicas_in_sync=8).get_per_replica_batch_size(size)


def test_the_suggested_batch_size_divides():
    with pytest.raises(ValueError, match="divides: 32"):
        InputContext(num_replicas_in_sync=8).get_per_replica_batch_size(30)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"num_input_pipelines": 0}, ValueError, "`num_input_pipelines` must be at least 1"),
        ({"num_replicas_in_sync": -1}, ValueError, "`num_replicas_in_sync` must be at least 1"),
        ({"num_input_pipelines": 2, "input_pipeline_id": 2}, ValueError, "input_pipeline_id=2"),
        ({"input_pipeline_id": -1}, ValueError, "input_pipeline_id=-1"),
        ({"num_replicas_in_sync": 1.0}, TypeError, "`num_replicas_in_sync` must be an integer"),
        ({"num_input_pipelines": True}, TypeError, "`num_input_pipelines` must be an integer"),
    ],
)
def test_impossible_fields_are_refused(fields, kind, message):
    with pytest.raises(kind, match=message):
        InputContext(**fields)
