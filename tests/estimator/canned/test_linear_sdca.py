"""LinearSDCA: TensorFlow's weights, the optima of the objective, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
from tests.models import config, contents
from torchestimator import feature_column as fc
from torchestimator.estimator.canned.dual_ascent import logistic_dual, shrink, squared_dual
from torchestimator.estimator.canned.linear import LinearClassifier, LinearEstimator, LinearRegressor
from torchestimator.estimator.canned.linear_sdca import LinearSDCA
from torchestimator.head import BinaryClassHead, MultiLabelHead, PoissonRegressionHead

ROWS = 24
KINDS = ["a", "b", "c"]
CASES = {
    "binary": (LinearClassifier, 24, 100, None, {}),
    "binary_batches": (LinearClassifier, 8, 300, None, {}),
    "binary_weighted": (LinearClassifier, 24, 150, "w", {"symmetric_l2_regularization": 0.5}),
    "binary_l1": (
        LinearClassifier,
        24,
        150,
        None,
        {"symmetric_l1_regularization": 0.7, "symmetric_l2_regularization": 0.5},
    ),
    "regression": (LinearRegressor, 24, 200, None, {"symmetric_l2_regularization": 0.3}),
    "regression_l1": (
        LinearRegressor,
        24,
        200,
        None,
        {"symmetric_l1_regularization": 2.0, "symmetric_l2_regularization": 0.3},
    ),
    "one_step_one_example": (LinearRegressor, 1, 5, None, {}),
}
"""Estimator, batch size, steps, weight column and options."""
RECORDED = {
    "binary": {
        "weights": {
            "bias_weights": [0.1257157],
            "c": [0.8210696, -0.6804126, 0.1107742],
            "w_bucketized": [0.4667743, -0.5078014, 0.1667425],
            "x": [1.122864, -0.9776775],
        },
        "metrics": {"auc": 0.984375, "average_loss": 0.2527489, "loss": 0.2527489, "prediction/mean": 0.6614285},
    },
    "binary_batches": {
        "weights": {
            "bias_weights": [0.1257156],
            "c": [0.8210696, -0.6804125, 0.1107741],
            "w_bucketized": [0.4667744, -0.5078012, 0.1667426],
            "x": [1.122864, -0.9776776],
        },
        "metrics": {"auc": 0.984375, "average_loss": 0.2527488, "loss": 0.2527488, "prediction/mean": 0.6614285},
    },
    "binary_weighted": {
        "weights": {
            "bias_weights": [0.1028993],
            "c": [1.059379, -0.9362875, 0.08270786],
            "w_bucketized": [0.3925624, -0.4832818, 0.1936186],
            "x": [1.839216, -1.650276],
        },
        "metrics": {"auc": 0.997131, "average_loss": 0.1739224, "loss": 0.2169755, "prediction/mean": 0.6431215},
    },
    "binary_l1": {
        "weights": {
            "bias_weights": [0.0],
            "c": [0.9245378, -0.4824564, 0.0],
            "w_bucketized": [0.0, -0.1294072, 0.0],
            "x": [1.076624, -0.9352247],
        },
        "metrics": {"auc": 0.9765625, "average_loss": 0.2852235, "loss": 0.2852235, "prediction/mean": 0.6496462},
    },
    "regression": {
        "weights": {
            "bias_weights": [0.1213045],
            "c": [0.5046585, -0.2800734, 0.01802415],
            "w_bucketized": [-0.008783871, 0.02616262, 0.1039257],
            "x": [0.9348704, -0.426467],
        },
        "metrics": {"average_loss": 0.0479266, "loss": 0.0479266, "prediction/mean": 0.6130982},
    },
    "regression_l1": {
        "weights": {
            "bias_weights": [0.0],
            "c": [0.5697012, -0.06789923, 0.02319813],
            "w_bucketized": [-0.0, -0.0, 0.0],
            "x": [0.8436885, -0.3716288],
        },
        "metrics": {"average_loss": 0.08604914, "loss": 0.08604914, "prediction/mean": 0.5696743},
    },
    "one_step_one_example": {
        "weights": {
            "bias_weights": [0.1651724],
            "c": [0.301159, 0.0, 0.02918571],
            "w_bucketized": [0.0, -0.1700439, 0.3352162],
            "x": [0.4049432, -0.195408],
        },
        "metrics": {"average_loss": 0.4947717, "loss": 0.4947717, "prediction/mean": 0.7058247},
    },
}
"""Weights and metrics of TensorFlow 2.15, after 200 and more steps where there are several examples in a batch."""


def data():
    """Features and the labels of both kinds; what TensorFlow was given."""
    draw = np.random.RandomState(3)
    x = draw.randn(ROWS, 2).astype(np.float32)
    c = draw.choice(KINDS, size=(ROWS, 2))
    w = (draw.rand(ROWS) * 2).astype(np.float32)
    score = x[:, 0] - 0.5 * x[:, 1] + (c[:, 0] == "a") - 0.7 * (c[:, 1] == "b") + 0.3
    classes = (score + 0.5 * draw.randn(ROWS) > 0).astype(np.int64)
    numbers = (score + 0.1 * draw.randn(ROWS)).astype(np.float32)
    ids = np.array([f"example {row}" for row in range(ROWS)])
    return {"x": x, "c": c, "w": w, "id": ids}, {LinearClassifier: classes, LinearRegressor: numbers}


def batches(kind, size=ROWS, first=0, last=None):
    """An input_fn that gives the examples over and over again, in batches."""
    features, labels = data()

    def batch(start):
        part = slice(start, start + size)
        return {name: values[part] for name, values in features.items()}, labels[kind][part]

    return lambda: map(batch, itertools.islice(itertools.cycle(range(0, ROWS, size)), first, last))


def columns():
    return [
        fc.numeric_column("x", shape=(2,)),
        fc.categorical_column_with_vocabulary_list("c", KINDS),
        fc.bucketized_column(fc.numeric_column("w"), [0.5, 1.0]),
    ]


def weights_of(estimator):
    names = {"x": "x.weights", "c": "c.weights", "w_bucketized": "w_bucketized.weights", "bias_weights": "bias_weights"}
    return {
        key: estimator.get_variable_value(f"linear/linear_model.{name}").ravel().tolist() for key, name in names.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_weights_and_metrics_equal_tensorflow(name, tmp_path):
    kind, size, steps, weight_column, options = CASES[name]
    optimizer = LinearSDCA("id", **options)
    estimator = kind(columns(), tmp_path, weight_column=weight_column, optimizer=optimizer, config=config())
    estimator.train(batches(kind, size), steps=steps)
    got, recorded = weights_of(estimator), RECORDED[name]
    for key, values in recorded["weights"].items():
        assert got[key] == pytest.approx(values, abs=2e-4)
    metrics = estimator.evaluate(batches(kind, ROWS, 0, 1))
    assert {key: metrics[key] for key in recorded["metrics"]} == pytest.approx(recorded["metrics"], rel=1e-3)


def test_weights_that_l1_makes_zero_are_zero(tmp_path):
    optimizer = LinearSDCA("id", symmetric_l1_regularization=2.0, symmetric_l2_regularization=0.3)
    estimator = LinearRegressor(columns(), tmp_path, optimizer=optimizer, config=config())
    estimator.train(batches(LinearRegressor), steps=200)
    recorded = RECORDED["regression_l1"]["weights"]
    zeros = {key: [value == 0 for value in values] for key, values in recorded.items()}
    assert {key: [value == 0 for value in values] for key, values in weights_of(estimator).items()} == zeros
    assert any(map(any, zeros.values()))


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([-1.0, 1.0]),
    st.floats(-1000, 1000),
    st.floats(0, 1),
    st.floats(0, 1e6),
)
def test_logistic_duals_solve_their_equation(label, product, share, curvature):
    before = label * share
    after = logistic_dual(label, product, before, curvature)
    assert 0 <= label * after <= 1
    margin = label * (product + (after - before) * curvature)
    # Compared through the margin, since a dual near 0 or 1 says little about it.
    sigmoid = 1 / (1 + np.exp(np.clip(margin, -700, 700)))
    assert label * after == pytest.approx(sigmoid, abs=1e-5 * max(1.0, curvature * 1e-4))


@settings(deadline=None)
@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 100))
def test_squared_duals_are_the_residual(label, product, before, curvature):
    after = squared_dual(label, product, before, curvature)
    assert after == pytest.approx(label - (product + (after - before) * curvature), abs=1e-6)


def test_shrinking():
    assert shrink(np.array([-3.0, -1.0, 0.5, 1.5]), 1.0).tolist() == [-2.0, 0.0, 0.0, 0.5]


def test_repeated_categories_and_weighted_ones(tmp_path):
    kinds = fc.weighted_categorical_column(fc.categorical_column_with_identity("k", 3), "kw")
    features = {
        "k": np.array([[0, 0, 1], [2, -1, -1]]),
        "kw": np.array([[1.0, 2.0, 0.5], [1.0, 1.0, 1.0]], np.float32),
        "id": np.array([7, 8]),
    }
    labels = np.array([2.0, -1.0], np.float32)
    estimator = LinearRegressor([kinds], tmp_path, optimizer=LinearSDCA("id"), config=config())
    estimator.train(lambda: itertools.repeat((features, labels), 300))
    x = np.array([[3.0, 0.5, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    best = np.linalg.solve(x.T @ x + np.eye(4), x.T @ labels)
    weights = estimator.get_variable_value("linear/linear_model.k_weighted_by_kw.weights").ravel()
    np.testing.assert_allclose(weights, best[:3], atol=1e-4)
    np.testing.assert_allclose(estimator.get_variable_value("linear/linear_model.bias_weights"), best[3:], atol=1e-4)


def test_examples_are_known_by_their_ids(tmp_path):
    """One example twice in the data, under one id, is one example."""
    features, labels = data()
    twice = {name: np.concatenate([values, values]) for name, values in features.items()}
    estimator = LinearRegressor(columns(), tmp_path, optimizer=LinearSDCA("id"), config=config())
    both = np.concatenate([labels[LinearRegressor]] * 2)
    estimator.train(lambda: itertools.repeat((twice, both), 100))
    once = LinearRegressor(columns(), tmp_path / "once", optimizer=LinearSDCA("id"), config=config())
    once.train(batches(LinearRegressor), steps=200)
    got, wanted = weights_of(estimator), weights_of(once)
    assert all(got[key] == pytest.approx(wanted[key], abs=1e-3) for key in wanted)


@pytest.mark.parametrize("l1", [0.0, 0.5])
def test_going_on_equals_not_stopping(l1, tmp_path):
    def train(folder, first, last):
        optimizer = LinearSDCA("id", symmetric_l1_regularization=l1)
        estimator = LinearClassifier(columns(), tmp_path / folder, optimizer=optimizer, config=config())
        estimator.train(batches(LinearClassifier, 6, first, last))
        return {name: value for name, value in contents(tmp_path / folder).items() if name != "state"}

    whole = train("whole", 0, 9)
    train("parts", 0, 2)  # half of the examples are not known yet
    assert train("parts", 2, 9) == whole
    assert whole["optimizer/linear/linear_model.bias_weights/example_ids"][1] == (ROWS,)


def test_another_regularisation_can_not_go_on(tmp_path):
    def train(l2):
        optimizer = LinearSDCA("id", symmetric_l2_regularization=l2)
        LinearRegressor(columns(), tmp_path, optimizer=optimizer, config=config()).train(
            batches(LinearRegressor), steps=1
        )

    train(1.0)
    with pytest.raises(ValueError, match=r"`symmetric_l2_regularization` 2\.0, and a checkpoint with 0\.0 and 1\.0"):
        train(2.0)


def test_warm_starts_are_refused(tmp_path):
    first = LinearRegressor(columns(), tmp_path / "first", config=config())
    first.train(batches(LinearRegressor), steps=1)
    second = LinearRegressor(
        columns(),
        tmp_path / "second",
        optimizer=LinearSDCA("id"),
        warm_start_from=str(tmp_path / "first"),
        config=config(),
    )
    with pytest.raises(RuntimeError, match="starts from weights of zero"):
        second.train(batches(LinearRegressor), steps=1)


def test_a_captured_step_is_refused(tmp_path):
    estimator = LinearRegressor(columns(), tmp_path, optimizer=LinearSDCA("id"), config=config(compile="step"))
    with pytest.raises(RuntimeError, match="LinearSDCA goes through the examples one by one"):
        estimator.train(batches(LinearRegressor), steps=3)


def test_long_trainings_stay_eager(tmp_path):
    """Where compile="auto" would rather capture."""
    estimator = LinearRegressor(columns(), tmp_path, optimizer=LinearSDCA("id"), config=config(compile="auto"))
    estimator.train(batches(LinearRegressor, last=4), max_steps=100_000)
    assert estimator.get_variable_value("global_step") == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"example_id_column": 3}, TypeError, "`example_id_column`"),
        ({"num_loss_partitions": 2}, ValueError, "`num_loss_partitions` must be 1"),
        ({"num_table_shards": 2}, ValueError, "`num_table_shards` must be None or 1"),
        ({"symmetric_l1_regularization": -1.0}, ValueError, "`symmetric_l1_regularization` must be 0 or more"),
        ({"symmetric_l2_regularization": 0.0}, ValueError, "`symmetric_l2_regularization` must be above 0"),
        ({"adaptive": True}, ValueError, "`adaptive` must be False"),
    ],
)
def test_wrong_options(arguments, error, message):
    with pytest.raises(error, match=message):
        LinearSDCA(**{"example_id_column": "id", **arguments})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sdca: LinearClassifier(columns(), n_classes=3, optimizer=sdca), "Received: n_classes=3"),
        (lambda sdca: LinearRegressor(columns(), label_dimension=2, optimizer=sdca), "label_dimension=2"),
        (lambda sdca: LinearEstimator(MultiLabelHead(2), columns(), optimizer=sdca), "MultiLabelHead"),
        (lambda sdca: LinearEstimator(PoissonRegressionHead(), columns(), optimizer=sdca), "PoissonRegressionHead"),
        (
            lambda sdca: LinearEstimator(
                BinaryClassHead(loss_fn=lambda labels, logits: (labels - logits).abs()), columns(), optimizer=sdca
            ),
            "a head with a `loss_fn`",
        ),
        (lambda sdca: LinearRegressor(columns(), optimizer=sdca, sparse_combiner="mean"), "`sparse_combiner` must be"),
        (
            lambda sdca: LinearRegressor([fc.embedding_column(columns()[1], 2)], optimizer=sdca),
            "not weights inside a column",
        ),
    ],
)
def test_models_that_can_not_be_trained_so(make, message):
    with pytest.raises(ValueError, match=message):
        make(LinearSDCA("id"))


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.zeros(ROWS, np.float32), TypeError, "must be strings or whole numbers"),
        (np.zeros((ROWS, 2), np.int64), ValueError, "must have one id per example"),
        (None, ValueError, "needs the feature 'id'"),
    ],
)
def test_wrong_ids(ids, error, message, tmp_path):
    features, labels = data()
    features = {**features, "id": ids} if ids is not None else {key: features[key] for key in ("x", "c", "w")}
    estimator = LinearRegressor(columns(), tmp_path, optimizer=LinearSDCA("id"), config=config())
    with pytest.raises(error, match=message):
        estimator.train(lambda: [(features, labels[LinearRegressor])])


def test_prediction_and_export_need_no_ids(tmp_path):
    estimator = LinearRegressor(
        [fc.numeric_column("x", shape=(2,))], tmp_path / "model", optimizer=LinearSDCA("id"), config=config()
    )
    estimator.train(batches(LinearRegressor), steps=20)
    x = data()[0]["x"]
    rows = [row["predictions"].item() for row in estimator.predict(lambda: iter([{"x": x}]))]
    receiver_fn = te.export.build_raw_serving_input_receiver_fn({"x": torch.from_numpy(x)})
    folder = estimator.export_saved_model(tmp_path / "exports", receiver_fn, formats=("torch_export",))
    served = te.export.load(folder)["predict"](x=x)["predictions"]
    np.testing.assert_allclose(served.ravel(), rows, rtol=1e-5, atol=1e-6)
