"""What the functions of a TPUEstimator find in their params."""

import functools

import numpy as np
import pytest

import torchestimator as te
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.input_fn import open_input
from torchestimator.mode_keys import ModeKeys
from torchestimator.tpu import InputPipelineConfig, TPUConfig
from torchestimator.tpu.deployment import Deployment, adapted_model_fn, check_sizes
from torchestimator.tpu.topology import Topology

SIZES = {ModeKeys.TRAIN: 8, ModeKeys.EVAL: 4, ModeKeys.PREDICT: None}


FOUR_CORES = Topology(1, 4)


def deployment(uses_tpu=True, topology=FOUR_CORES, **settings):
    return Deployment(SIZES, TPUConfig(**settings), uses_tpu, lambda: topology)


def open_with(adapted, mode):
    source = open_input(adapted, mode, {"width": 3}, None, InputContext())
    return [features["x"].tolist() for features, _ in source]


def test_processes_without_cores_share_the_batch():
    plain = deployment(uses_tpu=False, topology=Topology(2))
    assert plain.sizes(ModeKeys.TRAIN) == (4, 4)
    assert plain.sizes(ModeKeys.PREDICT) is None
    with pytest.raises(ValueError, match=r"`train_batch_size` is the size of the whole batch.*Received: 8"):
        deployment(uses_tpu=False, topology=Topology(3)).sizes(ModeKeys.TRAIN)


def test_the_model_sees_what_all_cores_see():
    assert deployment().sizes(ModeKeys.TRAIN) == (8, 8)
    per_core = deployment(per_host_input_for_training=InputPipelineConfig.PER_HOST_V2)
    assert per_core.sizes(ModeKeys.TRAIN) == (2, 8)


def test_the_expected_number_of_replicas_is_checked():
    assert deployment(num_shards=4).sizes(ModeKeys.TRAIN) == (8, 8)
    with pytest.raises(ValueError, match=r"`num_shards` .* there are 4: 1 host\(s\) with 4 core\(s\)\. Received: 8"):
        deployment(num_shards=8).sizes(ModeKeys.TRAIN)


@pytest.mark.parametrize("way", [False, True, InputPipelineConfig.PER_HOST_V2, InputPipelineConfig.BROADCAST])
def test_every_way_of_input_gives_whole_batches(way):
    calls = []

    def input_fn(params, mode):
        calls.append((params["batch_size"], params["context"].current_input_fn_deployment()))
        assert params["width"] == 3
        x = [[float(row)] for row in range(16)]
        return te.inputs.numpy_input_fn(
            {"x": np.asarray(x, dtype=np.float32)}, None, params["batch_size"], shuffle=False
        )()

    batches = open_with(deployment(per_host_input_for_training=way).input_fn(input_fn, ModeKeys.TRAIN), ModeKeys.TRAIN)
    assert {len(batch) for batch in batches} == {8}
    per_core = way is False
    assert len(calls) == (4 if per_core else 1)
    assert {size for size, _ in calls} == {2 if per_core or way == InputPipelineConfig.PER_HOST_V2 else 8}
    assert [each.invocation_index for _, each in calls] == list(range(len(calls)))


def test_sliced_evaluation_takes_whole_batches():
    def input_fn(params):
        return [{"x": np.zeros((params["batch_size"], 1), dtype=np.float32)}]

    sliced = deployment(
        per_host_input_for_training=InputPipelineConfig.PER_HOST_V2,
        eval_training_input_configuration=InputPipelineConfig.SLICED,
    )
    assert [len(batch) for batch in open_with(sliced.input_fn(input_fn, ModeKeys.EVAL), ModeKeys.EVAL)] == [4]


def test_functions_without_params_are_refused():
    with pytest.raises(
        ValueError, match=r"`input_fn` .*takes no argument named `params`.*Received arguments: \['mode'\]"
    ):
        deployment().input_fn(lambda mode: None, ModeKeys.TRAIN)
    with pytest.raises(ValueError, match=r"`model_fn` .*takes no argument named `params`.*def model_fn\("):
        adapted_model_fn(lambda features: None, lambda mode: {})


def test_a_partial_with_params_has_none_to_take():
    with pytest.raises(ValueError, match="takes no argument named `params`"):
        adapted_model_fn(functools.partial(lambda features, params: None, params={}), lambda mode: {})


def test_sizes_are_checked():
    check_sizes(SIZES, is_needed=True)
    check_sizes({ModeKeys.TRAIN: None}, is_needed=False)
    with pytest.raises(ValueError, match="`train_batch_size` is needed with use_tpu=True"):
        check_sizes({ModeKeys.TRAIN: None}, is_needed=True)
    for wrong in (2.0, True, "8"):
        with pytest.raises(TypeError, match="`eval_batch_size` must be an integer"):
            check_sizes({ModeKeys.EVAL: wrong}, is_needed=False)
    with pytest.raises(ValueError, match=r"`predict_batch_size` must be positive\. Received: 0"):
        check_sizes({ModeKeys.PREDICT: 0}, is_needed=False)
