"""Evaluations as a user sees them: numbers, steps, checkpoints, events."""

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import (
    config,
    linear_data,
    linear_estimator,
    linear_input,
    linear_model_fn,
    messages,
    restless_estimator,
    restless_input,
)
from tests.summary.event_files import events, load


def test_loss_is_the_mean_over_batches_and_metrics_are_over_examples(tmp_path):
    def model_fn(features, labels, mode):
        value = features["v"]
        metrics = {"mean": te.metrics.mean(value), "count": te.metrics.mean(torch.ones_like(value))}
        return te.EstimatorSpec(mode, loss=value.mean(), eval_metric_ops=metrics)

    estimator = te.Estimator(model_fn, tmp_path, config())
    values = np.arange(8, dtype=np.float32) ** 2
    for batch_size in (1, 3, 5, 8):
        input_fn = te.inputs.numpy_input_fn({"v": values}, None, batch_size, shuffle=False)
        results = estimator.evaluate(input_fn)
        batches = [values[start : start + batch_size].mean() for start in range(0, 8, batch_size)]
        assert results["loss"] == pytest.approx(np.mean(batches), rel=1e-6)
        assert results["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert results["count"] == 1
        assert set(results) == {"loss", "mean", "count", "global_step"}


def test_steps_limit_an_evaluation_and_an_input_may_end_before(tmp_path):
    estimator = linear_estimator(tmp_path)
    one = estimator.evaluate(linear_input(num_epochs=1), steps=1)
    assert one == estimator.evaluate(linear_input(num_epochs=1, rows=4))
    assert estimator.evaluate(linear_input(num_epochs=1), steps=99) == estimator.evaluate(linear_input(num_epochs=1))


@pytest.mark.parametrize(("steps", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("x", TypeError)])
def test_steps_must_be_positive_whole_numbers(tmp_path, steps, error):
    estimator = linear_estimator(tmp_path)
    with pytest.raises(error, match="`steps`"):
        estimator.evaluate(linear_input(), steps=steps)
    for name in ("steps", "max_steps"):
        with pytest.raises(error, match=f"`{name}`"):
            estimator.train(linear_input(), **{name: steps})


@pytest.mark.parametrize("name", ["loss", "global_step"])
def test_the_reserved_names_of_metrics(tmp_path, name):
    def model_fn(features, labels, mode):
        return te.EstimatorSpec(mode, loss=labels.mean(), eval_metric_ops={name: te.metrics.mean(labels)})

    with pytest.raises(ValueError, match=f"must not have a metric called '{name}'"):
        te.Estimator(model_fn, tmp_path, config()).evaluate(linear_input(num_epochs=1))


def test_without_a_checkpoint_the_initial_weights_are_used(tmp_path, caplog):
    estimator = restless_estimator(tmp_path)
    rows = list(estimator.predict(restless_input(num_epochs=1)))
    first = estimator.evaluate(restless_input(num_epochs=1))
    assert first["global_step"] == 0
    assert any("There is no checkpoint" in line and "initial weights" in line for line in messages(caplog))
    estimator.train(restless_input(), steps=1)
    start = str(tmp_path / "model.ckpt-0")
    assert estimator.evaluate(restless_input(num_epochs=1), checkpoint_path=start) == first
    assert list(estimator.predict(restless_input(num_epochs=1), checkpoint_path=start)) == rows


def test_a_chosen_checkpoint_is_evaluated(tmp_path):
    estimator = linear_estimator(tmp_path, save_checkpoints_steps=2)
    estimator.train(linear_input(), steps=4)
    losses = {}
    for step in (0, 2, 4):
        results = estimator.evaluate(linear_input(num_epochs=1), checkpoint_path=str(tmp_path / f"model.ckpt-{step}"))
        assert results["global_step"] == step
        losses[step] = results["loss"]
    assert losses[0] > losses[2] > losses[4]
    assert estimator.evaluate(linear_input(num_epochs=1))["loss"] == losses[4]
    with pytest.raises(FileNotFoundError, match=r"model\.ckpt-3"):
        estimator.evaluate(linear_input(num_epochs=1), checkpoint_path=str(tmp_path / "model.ckpt-3"))


def test_the_events_of_an_evaluation(tmp_path):
    estimator = linear_estimator(tmp_path, save_checkpoints_steps=2)
    estimator.train(linear_input(), steps=4)
    estimator.evaluate(linear_input(num_epochs=1))
    estimator.evaluate(linear_input(num_epochs=1), name="again")
    estimator.evaluate(linear_input(num_epochs=1), name="again", checkpoint_path=str(tmp_path / "model.ckpt-2"))
    assert {tag: [event.step for event in load(tmp_path / "eval").Scalars(tag)] for tag in ("loss", "error")} == {
        "loss": [4],
        "error": [4],
    }
    written = [
        (event.step, value.tag, value.tensor.string_val[0].decode())
        for event in events(tmp_path / "eval_again")
        for value in event.summary.value
        if value.tag == "checkpoint_path"
    ]
    assert written == [(step, "checkpoint_path", str(tmp_path / f"model.ckpt-{step}")) for step in (4, 2)]


def test_no_checkpoint_path_is_written_where_there_is_none(tmp_path):
    linear_estimator(tmp_path).evaluate(linear_input(num_epochs=1))
    tags = {value.tag for event in events(tmp_path / "eval") for value in event.summary.value}
    assert tags == {"loss", "error"}


def test_torchmetrics_objects_as_they_are(tmp_path):
    torchmetrics = pytest.importorskip("torchmetrics")
    kept = torchmetrics.MeanSquaredError()

    def model_fn(features, labels, mode, params):
        spec = linear_model_fn(features, labels, mode, params)
        if mode == te.ModeKeys.PREDICT:
            return spec
        outputs = (features["x"] @ te.get_parameter("weight", lambda: torch.zeros(2))).detach()
        fresh = torchmetrics.MeanSquaredError()
        for metric in (kept, fresh):
            metric.update(outputs, labels)
        return spec._replace(eval_metric_ops={"kept": kept, "fresh": fresh, "own": te.metrics.mean(0 * labels)})

    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    estimator.train(linear_input(), steps=3)
    x, y = linear_data()
    expected = np.mean((x["x"] @ estimator.get_variable_value("weight") - y) ** 2)
    for batch_size in (4, 22):
        results = estimator.evaluate(linear_input(batch_size, num_epochs=1))
        assert results["kept"] == pytest.approx(expected, rel=1e-5)
        assert results["fresh"] == pytest.approx(expected, rel=1e-5)


def test_metrics_must_have_the_same_names_in_every_batch(tmp_path):
    def model_fn(features, labels, mode):
        metrics = {f"of_{len(labels)}": te.metrics.mean(labels)}
        return te.EstimatorSpec(mode, loss=labels.mean(), eval_metric_ops=metrics)

    with pytest.raises(ValueError, match=r"same names for every batch. Received: \['of_2'\] after \['of_4'\]"):
        te.Estimator(model_fn, tmp_path, config()).evaluate(linear_input(num_epochs=1))


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_an_empty_input_is_an_error_where_there_is_nothing_to_give(tmp_path, verb):
    with pytest.raises(ValueError, match="gave no batch"):
        list(getattr(linear_estimator(tmp_path), verb)(lambda: iter(())))
