import numpy as np
import pytest
import torch

import torchestimator as te
from tests.estimator.canned.training import FEATURES, LABELS, LINEAR, input_of, weights
from tests.models import config


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    estimator = te.LinearRegressor(LINEAR, tmp_path_factory.mktemp("regressor"), config=config())
    estimator.train(input_of("income"), steps=10)
    return estimator


def evaluated(estimator, metric_fn):
    return te.add_metrics(estimator, metric_fn).evaluate(input_of("income", 100, 1))


def test_metrics_are_added(regressor):
    def metric_fn(labels, predictions, features, config):
        assert config.random_seed == 1
        error = (labels[:, None] - predictions["predictions"]).abs()
        return {"error": te.metrics.mean(error), "age": te.metrics.mean(features["age"])}

    plain = regressor.evaluate(input_of("income", 100, 1))
    found = evaluated(regressor, metric_fn)
    rows = regressor.predict(input_of("income", 100, 1), ["predictions"])
    expected = np.mean(
        [abs(row["predictions"].item() - label) for row, label in zip(rows, LABELS["income"], strict=True)]
    )
    assert found["error"] == pytest.approx(expected, rel=1e-5)
    assert found["age"] == pytest.approx(FEATURES["age"].mean(), rel=1e-5)
    assert {name: found[name] for name in plain} == plain


def test_only_what_is_asked_for_is_given(regressor):
    assert evaluated(regressor, lambda labels: {"n": te.metrics.mean(labels * 0 + 3)})["n"] == 3
    assert evaluated(regressor, lambda: {"one": te.metrics.mean(torch.ones(2))})["one"] == 1


def test_a_metric_of_the_same_name_replaces_the_model_s(regressor):
    found = evaluated(regressor, lambda labels: {"average_loss": te.metrics.mean(labels * 0 + 42)})
    assert found["average_loss"] == 42
    assert found["loss"] == pytest.approx(regressor.evaluate(input_of("income", 100, 1))["loss"])


def test_the_loss_stays(regressor):
    with pytest.raises(ValueError, match="loss"):
        evaluated(regressor, lambda labels: {"loss": te.metrics.mean(labels)})


def test_the_model_is_the_same(regressor):
    added = te.add_metrics(regressor, lambda labels: {"n": te.metrics.mean(labels)})
    assert added.model_dir == regressor.model_dir
    assert added.config == regressor.config
    rows, others = (each.predict(input_of("income", 100, 1)) for each in (regressor, added))
    assert [row["predictions"].item() for row in rows] == [row["predictions"].item() for row in others]


def test_it_trains_on_and_keeps_the_warm_start(regressor, tmp_path):
    fresh = te.LinearRegressor(
        LINEAR,
        tmp_path,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.0),
        warm_start_from=regressor.model_dir,
        config=config(),
    )
    added = te.add_metrics(
        te.add_metrics(fresh, lambda labels: {"a": te.metrics.mean(labels)}),
        lambda labels: {"b": te.metrics.mean(labels)},
    )
    added.train(input_of("income"), steps=2)
    assert {name: value.tolist() for name, value in weights(fresh).items()} == {
        name: value.tolist() for name, value in weights(regressor).items()
    }
    assert {"a", "b", "average_loss"} <= set(added.evaluate(input_of("income", 100, 1)))


def test_params_and_model_fns_of_ones_own(tmp_path):
    def model_fn(features, labels, mode, params):
        outputs = features["age"] * te.get_parameter("w", lambda: torch.ones(())) * params["factor"]
        loss = (outputs - labels).square().mean()
        train_op = te.minimize(loss, lambda weights: torch.optim.SGD(weights, lr=0.0))
        return te.EstimatorSpec(mode, predictions=outputs, loss=loss, train_op=train_op)

    estimator = te.Estimator(model_fn, tmp_path, config(), {"factor": 3.0})
    estimator.train(input_of("income"), steps=1)
    found = evaluated(estimator, lambda predictions: {"mean": te.metrics.mean(predictions)})
    assert found["mean"] == pytest.approx(3 * FEATURES["age"].mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("metric_fn", "error", "message"),
    [
        (lambda labels, weights: {}, ValueError, r"may take features, labels, predictions, config.*'weights'"),
        ("accuracy", TypeError, "`metric_fn` must be a function"),
    ],
)
def test_wrong_functions(metric_fn, error, message, regressor):
    with pytest.raises(error, match=message):
        te.add_metrics(regressor, metric_fn)


def test_what_is_no_estimator():
    with pytest.raises(TypeError, match=r"`estimator` must be a te\.Estimator"):
        te.add_metrics(te.LinearRegressor, lambda labels: {})


@pytest.mark.parametrize("result", [None, [1]])
def test_what_is_no_metrics(result, regressor):
    with pytest.raises(TypeError, match="`metric_fn` must return a dict of metrics"):
        evaluated(regressor, lambda labels: result)


def test_a_metric_that_is_none(regressor):
    with pytest.raises(TypeError, match="eval_metric_ops"):
        evaluated(regressor, lambda labels: {"a": "text"})
