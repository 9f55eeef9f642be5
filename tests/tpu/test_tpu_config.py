"""TPUConfig: defaults and errors."""

import pytest

from torchestimator.tpu import InputPipelineConfig, TPUConfig


def test_defaults_are_those_of_tensorflow():
    config = TPUConfig()
    assert config.iterations_per_loop == 2
    assert config.loop == (2, "count")
    assert config.training_input == InputPipelineConfig.PER_HOST_V1
    assert config.eval_training_input_configuration == InputPipelineConfig.PER_HOST_V1
    assert config.experimental_host_call_every_n_steps == 1
    assert config.num_shards is None
    assert config.num_cores_per_replica is None


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (True, InputPipelineConfig.PER_HOST_V1),
        (False, InputPipelineConfig.PER_SHARD_V1),
        (3, InputPipelineConfig.PER_HOST_V2),
        (InputPipelineConfig.BROADCAST, InputPipelineConfig.BROADCAST),
    ],
)
def test_ways_of_input(given, way):
    assert TPUConfig(per_host_input_for_training=given).training_input is way


V2 = InputPipelineConfig.PER_HOST_V2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations_per_loop": 0}, "`iterations_per_loop` must be a positive number"),
        ({"num_shards": 0}, "`num_shards` must be a positive integer"),
        ({"experimental_host_call_every_n_steps": None}, "`experimental_host_call_every_n_steps` must be a positive"),
        ({"num_cores_per_replica": 3}, r"`num_cores_per_replica` must be one of \[1, 2, 4"),
        ({"per_host_input_for_training": 5}, "`per_host_input_for_training` must be True, False or one of"),
        ({"eval_training_input_configuration": V2}, "`eval_training_input_configuration` must be"),
        ({"input_partition_dims": [1, 2, 3]}, "must be a list of one or two elements"),
        ({"input_partition_dims": [[2, 1]]}, "`num_cores_per_replica` is needed"),
        ({"input_partition_dims": [[2, 1]], "num_cores_per_replica": 2}, "PER_HOST_V2"),
        ({"tpu_job_name": "worker"}, "`tpu_job_name` has no meaning here"),
        ({"initial_infeed_sleep_secs": 5}, "`initial_infeed_sleep_secs` has no meaning here"),
        ({"experimental_feed_hook": object}, "FeedFnHook"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        TPUConfig(**settings)


def test_partitions_are_taken():
    config = TPUConfig(input_partition_dims=[[1, 2]], num_cores_per_replica=2, per_host_input_for_training=V2)
    assert config.input_partition_dims == [[1, 2]]
