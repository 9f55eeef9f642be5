"""`params["batch_size"]`, for every topology and every way of input."""

import pytest

import torchestimator as te
from tests.tpu.tensorflow_sizes import SIZES
from torchestimator.tpu import InputPipelineConfig
from torchestimator.tpu.batch_sizes import batch_sizes, batches_per_step, calls_of_input_fn
from torchestimator.tpu.topology import Topology

WAYS = [way for way in InputPipelineConfig if way != InputPipelineConfig.SLICED]
EVALUATIONS = (InputPipelineConfig.PER_HOST_V1, InputPipelineConfig.SLICED)
MODES = (te.ModeKeys.TRAIN, te.ModeKeys.EVAL, te.ModeKeys.PREDICT)


@pytest.mark.parametrize("machines", SIZES)
def test_sizes_are_those_of_tensorflow(machines):
    recorded = SIZES[machines].split()
    ways = WAYS if len(recorded) == 24 else WAYS[1:]
    cases = [(way, evaluation, mode) for way in ways for evaluation in EVALUATIONS for mode in MODES]
    for (way, evaluation, mode), sizes in zip(cases, recorded, strict=True):
        found = batch_sizes(mode, 64, Topology(*machines), way, evaluation)
        assert f"{found.input_fn}/{found.model_fn}" == sizes, (way, evaluation, mode)


def test_all_calls_together_give_the_global_batch():
    for hosts in (1, 2, 4):
        for cores in (1, 2, 8):
            topology = Topology(hosts, cores)
            for way in (
                InputPipelineConfig.PER_SHARD_V1,
                InputPipelineConfig.PER_HOST_V1,
                InputPipelineConfig.PER_HOST_V2,
            ):
                for mode in MODES:
                    size = batch_sizes(mode, 64, topology, way).input_fn
                    calls = hosts * calls_of_input_fn(mode, topology, way)
                    assert size * calls * batches_per_step(topology, way, is_sliced=False) == 64


@pytest.mark.parametrize(
    ("mode", "argument"),
    [("train", "train_batch_size"), ("eval", "eval_batch_size"), ("infer", "predict_batch_size")],
)
def test_a_batch_that_does_not_divide_is_refused(mode, argument):
    with pytest.raises(ValueError, match=rf"`{argument}`.*multiple.*8\. Received: 20\. Use 16 or 24\."):
        batch_sizes(mode, 20, Topology(2, 4))
    with pytest.raises(ValueError, match=r"Received: 3\. Use 8\."):
        batch_sizes(mode, 3, Topology(2, 4))


def test_broadcast_batches_need_not_divide():
    assert batch_sizes("train", 20, Topology(2, 4), InputPipelineConfig.BROADCAST) == (20, 20)
