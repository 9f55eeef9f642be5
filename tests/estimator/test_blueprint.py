"""Making, building and filling models; opening inputs."""

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import config, linear_data, linear_input, linear_model_fn, messages
from torchestimator.checkpoint import Checkpoint, CheckpointStore
from torchestimator.estimator.blueprint import Blueprint
from torchestimator.strategy.single_device import SingleDevice
from torchestimator.strategy.watchdog import Watchdog


def blueprint(model_fn=linear_model_fn):
    return Blueprint(
        model_fn=model_fn,
        params={} if model_fn is linear_model_fn else None,
        config=config(),
        seed=1,
        strategy=SingleDevice("cpu"),
        warm_start=None,
        watchdog=Watchdog(None, "nowhere"),
    )


def test_an_opened_input_shows_its_first_batch_and_gives_it_out_again():
    stream = blueprint().open(linear_input(), te.ModeKeys.TRAIN)
    first = stream.first
    assert torch.equal(next(stream).features["x"], first.features["x"])
    assert not torch.equal(next(stream).features["x"], first.features["x"])
    stream.close()


def test_an_empty_input_is_closed_and_gives_nothing():
    closed = []

    def batches():
        try:
            yield from ()
        finally:
            closed.append(True)

    assert blueprint().open(batches, te.ModeKeys.TRAIN) is None
    assert closed == [True]


def test_a_position_is_gone_to():
    made = blueprint()
    stream = made.open(linear_input(), te.ModeKeys.TRAIN)
    next(stream)
    position = stream.state_dict()
    second = next(stream)
    stream.close()
    again = made.open(linear_input(), te.ModeKeys.TRAIN, position, resumes=True)
    assert torch.equal(again.first.features["x"], second.features["x"])
    again.close()


@pytest.mark.parametrize("position", [None, {"loader": {}}, {"item": 3, "items": 7}])
def test_a_position_of_another_input_is_warned_of(position, caplog):
    stream = blueprint().open(lambda: iter([linear_data(4)]), te.ModeKeys.TRAIN, position, resumes=True)
    assert stream.first.labels.shape == (4,)
    stream.close()
    (line,) = [line for line in messages(caplog) if "The input starts from its beginning" in line]
    assert "te.inputs" in line


def test_strings_are_kept_for_prediction_only():
    for mode, kept in (("train", False), ("eval", False), ("infer", True)):
        stream = blueprint().open(lambda: [{"s": np.array(["a", "b"])}], mode)
        assert bool(stream.first.strings) == kept
        assert stream.first.features["s"].dtype == torch.int64
        stream.close()


def batch():
    stream = blueprint().open(linear_input(), te.ModeKeys.TRAIN)
    stream.close()
    return stream.first


def test_initial_weights_depend_on_the_seed_alone():
    def model_fn(features, labels, mode):
        net = te.get_module("net", lambda: torch.nn.Linear(2, 1))
        return te.EstimatorSpec(mode, loss=net(features["x"]).square().mean(), predictions=features["x"])

    torch.manual_seed(3)
    one, _ = blueprint(model_fn).build(batch(), te.ModeKeys.EVAL)
    torch.rand(7)
    two, _ = blueprint(model_fn).build(batch(), te.ModeKeys.PREDICT)
    assert torch.equal(one.state_dict()["net.weight"], two.state_dict()["net.weight"])


def test_a_model_is_filled_from_a_checkpoint_and_gets_its_step(tmp_path):
    made = blueprint()
    path = CheckpointStore(tmp_path).save(9, {"weight": torch.tensor([1.0, 2.0]), "more": torch.ones(1)}, {}, {})
    module, _ = made.build(batch(), te.ModeKeys.EVAL)
    made.initialise(module, Checkpoint(path))
    assert module.state_dict()["weight"].tolist() == [1, 2]
    assert module.global_step == 9
    made.initialise(module, None)
    assert module.state_dict()["weight"].tolist() == [1, 2]


def test_metrics_filled_by_the_building_call_are_emptied():
    torchmetrics = pytest.importorskip("torchmetrics")
    kept = torchmetrics.SumMetric()

    def model_fn(features, labels, mode):
        kept.update(labels)
        return te.EstimatorSpec(mode, loss=labels.mean(), eval_metric_ops={"sum": kept})

    blueprint(model_fn).build(batch(), te.ModeKeys.EVAL)
    assert not kept.update_called


def test_a_note_on_missing_labels_goes_with_the_error_of_training_only():
    def model_fn(features, labels, mode):
        return te.EstimatorSpec(mode, loss=labels.mean(), predictions=labels.mean())

    features_only = batch()._replace(labels=None)
    for mode, noted in ((te.ModeKeys.TRAIN, True), (te.ModeKeys.EVAL, True), (te.ModeKeys.PREDICT, False)):
        with pytest.raises(AttributeError) as caught:
            blueprint(model_fn).build(features_only, mode)
        assert bool(getattr(caught.value, "__notes__", [])) == noted
