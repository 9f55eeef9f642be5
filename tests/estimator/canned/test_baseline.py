"""BaselineEstimator, BaselineClassifier, BaselineRegressor; tests/parity holds them against TensorFlow's numbers."""

import itertools
import math

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.estimator.canned.training import FEATURES, LABELS, LEVELS, first_loss, input_of, losses, weights
from tests.models import config, contents
from torchestimator import feature_column as fc


def fast(params):
    return te.optim.Adam(params, learning_rate=0.05)


def test_a_regression_learns_the_mean(tmp_path):
    estimator = te.BaselineRegressor(tmp_path, config=config())
    estimator.train(input_of("income", 320), steps=400)
    rows = list(estimator.predict(input_of("income", 100, 1)))
    assert len(rows) == 320
    assert {row["predictions"].item() for row in rows} == {weights(estimator)["baseline/bias"].item()}
    assert rows[0]["predictions"].item() == pytest.approx(LABELS["income"].mean(), abs=0.1)
    variance = LABELS["income"].var()
    assert estimator.evaluate(input_of("income", 320, 1))["loss"] == pytest.approx(variance, rel=0.01)


def test_a_classifier_learns_the_shares(tmp_path):
    estimator = te.BaselineClassifier(tmp_path, 3, label_vocabulary=LEVELS, optimizer=fast, config=config())
    assert losses(estimator, input_of("level", 320), 120)[0] == pytest.approx(math.log(3))
    (row,) = itertools.islice(estimator.predict(input_of("level", 10, 1)), 1)
    shares = [(LABELS["level"] == level).mean() for level in LEVELS]
    np.testing.assert_allclose(row["probabilities"], shares, atol=0.02)
    assert row["classes"].item() == LEVELS[int(np.argmax(shares))]


def test_names_are_tensorflows(tmp_path):
    estimator = te.BaselineClassifier(tmp_path, config=config())
    assert losses(estimator, input_of("binary"), 1)[0] == pytest.approx(math.log(2))
    assert set(estimator.get_variable_names()) == {
        "baseline/bias",
        "baseline/bias/accumulator",
        "baseline/bias/linear",
        "global_step",
    }


def test_weights_of_examples_and_sums(tmp_path):
    features, labels = {"x": np.zeros(2, np.float32), "w": np.float32([3, 1])}, np.float32([2, 1])

    def found(name, **arguments):
        return first_loss(te.BaselineRegressor, tmp_path / name, lambda: [(features, labels)], **arguments)

    assert found("plain") == pytest.approx(5 / 2)
    assert found("sum", loss_reduction="sum") == pytest.approx(5)
    assert found("name", weight_column="w", loss_reduction="sum") == pytest.approx(13)
    assert found("column", weight_column=fc.numeric_column("w")) == pytest.approx(13 / 2)


def test_several_numbers_per_label(tmp_path):
    estimator = te.BaselineRegressor(tmp_path, label_dimension=2, optimizer=fast, config=config())
    batch = {"x": np.zeros(2, np.float32)}, np.float32([[1, -1], [2, -2]])
    estimator.train(lambda: [batch] * 200)
    (row, _) = estimator.predict(lambda: iter([batch[0]]))
    np.testing.assert_allclose(row["predictions"], [1.5, -1.5], atol=0.05)


@pytest.mark.parametrize(
    ("optimizer", "step"),
    [
        ("Ftrl", 0.3 / math.sqrt(1.1)),
        ("SGD", 0.3),
        ("Adam", 0.3),
        (lambda params: torch.optim.SGD(params, lr=0.5), 0.5),
        (te.optim.SGD, 0.01),
    ],
)
def test_optimizers(optimizer, step, tmp_path):
    """The gradient is -1."""
    estimator = te.BaselineRegressor(tmp_path, optimizer=optimizer, config=config())
    estimator.train(lambda: [({"x": np.zeros(1, np.float32)}, np.float32([0.5]))])
    assert weights(estimator)["baseline/bias"].item() == pytest.approx(step, rel=1e-4)


@pytest.mark.parametrize(
    "features",
    [
        {"words": fc.RaggedFeature(torch.arange(5), torch.tensor([0, 2, 2, 5])), "x": np.zeros(3)},
        {"words": torch.sparse_coo_tensor([[0], [3]], [7], (3, 9), check_invariants=True)},
        {"text": np.array(["a", "b", "c"])},
        {"nested": {"x": np.zeros((3, 2, 2))}},
        np.zeros((3, 5)),
    ],
)
def test_features_of_any_kind_are_counted(features, tmp_path):
    estimator = te.BaselineRegressor(tmp_path, config=config())
    estimator.train(lambda: [(features, np.float32([1, 2, 3]))])
    assert estimator.evaluate(lambda: iter([(features, np.float32([1, 2, 3]))]))["label/mean"] == 2
    assert len(list(estimator.predict(lambda: iter([features])))) == 3


def test_going_on_equals_not_stopping(tmp_path):
    def train(folder, first, last):
        batches = list(itertools.islice(input_of("binary")(), first, last))
        te.BaselineClassifier(tmp_path / folder, config=config()).train(lambda: batches)
        return {name: value for name, value in contents(tmp_path / folder).items() if name != "state"}

    whole = train("whole", 0, 7)
    train("parts", 0, 3)
    assert train("parts", 3, 7) == whole


def test_any_head(tmp_path):
    estimator = te.BaselineEstimator(te.PoissonRegressionHead(), tmp_path, fast, config())
    input_fn = te.inputs.numpy_input_fn(FEATURES, np.full(320, 4, np.float32), 320, num_epochs=None, shuffle=False)
    estimator.train(input_fn, steps=120)
    (row,) = itertools.islice(estimator.predict(input_fn), 1)
    assert row["predictions"].item() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_classes": 0}, ValueError, "`n_classes`"),
        ({"optimizer": None}, TypeError, "`optimizer` must be one of the names"),
        ({"optimizer": "ftrl"}, ValueError, "Write: optimizer='Ftrl'"),
        ({"label_vocabulary": ["x"]}, ValueError, "`label_vocabulary`"),
        ({"loss_reduction": "none"}, ValueError, "`loss_reduction` must be one of"),
        ({"weight_column": 1}, TypeError, "`weight_column`"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        te.BaselineClassifier(**arguments)


def test_a_wrong_head_and_wrong_labels(tmp_path):
    with pytest.raises(TypeError, match="`head` must be a head such as"):
        te.BaselineEstimator("regression")
    estimator = te.BaselineClassifier(tmp_path, label_vocabulary=["no", "yes"], config=config())
    with pytest.raises(ValueError, match=r"none of them \(row 1\)"):
        estimator.train(lambda: [({"x": np.zeros(2)}, np.array(["no", "maybe"]))])
