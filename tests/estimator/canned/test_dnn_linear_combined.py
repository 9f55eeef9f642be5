"""DNNLinearCombined*: a linear model and a network; tests/parity holds them against TensorFlow's numbers."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import torchestimator as te
from tests.estimator.canned.training import (
    DEEP,
    FEATURES,
    LABELS,
    LEVELS,
    LINEAR,
    first_loss,
    input_of,
    losses,
    weights,
)
from tests.models import config, contents
from tests.parity.comparison import HERE, RECORDED
from tests.summary.event_files import load
from torchestimator import feature_column as fc
from torchestimator.checkpoint.tensorflow import translate_checkpoint

PARTS = {"linear_feature_columns": LINEAR, "dnn_feature_columns": DEEP, "dnn_hidden_units": [8, 4]}
LINEAR_NAMES = {
    f"linear/linear_model.{name}"
    for name in (
        "age_bucketized.weights",
        "age_bucketized_X_job.weights",
        "bias_weights",
        "city.weights",
        "job.weights",
    )
}
DNN_NAMES = {
    "dnn/input_from_feature_columns/input_layer.city_embedding.embedding_weights",
    *(f"dnn/{layer}.{kind}" for layer in ("hiddenlayer_0", "hiddenlayer_1", "logits") for kind in ("weight", "bias")),
}
ONE = fc.numeric_column("one")


def still(params):
    """An optimizer that changes nothing."""
    return torch.optim.SGD(params, lr=0.0)


def fast(params):
    return te.optim.Adam(params, learning_rate=0.02)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier of three named levels after 60 steps, with summaries every 20."""
    estimator = te.DNNLinearCombinedClassifier(
        **PARTS,
        linear_optimizer="Ftrl",
        dnn_optimizer=fast,
        n_classes=3,
        label_vocabulary=LEVELS,
        config=config(model_dir=str(tmp_path_factory.mktemp("combined")), save_summary_steps=20),
    )
    estimator.train(input_of("level", 64), steps=60)
    return estimator


def test_learning(classifier):
    assert classifier.evaluate(input_of("level", 100, 1))["accuracy"] > 0.75
    rows = list(classifier.predict(input_of("level", 100, 1), ["classes"]))
    assert np.mean([row["classes"].item() for row in rows] == LABELS["level"]) > 0.75


def test_names_are_tensorflows(classifier):
    assert set(weights(classifier)) == LINEAR_NAMES | DNN_NAMES
    slots = {f"{name}/{slot}" for name in LINEAR_NAMES for slot in ("accumulator", "linear")}
    slots |= {f"{name}/{slot}" for name in DNN_NAMES for slot in ("m", "v")}
    assert slots <= set(classifier.get_variable_names())
    assert not [name for name in classifier.get_variable_names() if name.startswith("dnn/") and "accumulator" in name]


def test_summaries_have_tensorflows_tags(classifier):
    tags = load(classifier.model_dir).Tags()
    places = ["linear", "dnn/hiddenlayer_0", "dnn/hiddenlayer_1", "dnn/logits"]
    assert {f"{place}/fraction_of_zero_values" for place in places} | {"loss"} <= set(tags["scalars"])
    assert {f"{place}/activation" for place in places} == set(tags["histograms"])


def test_a_step_counts_once(classifier):
    assert classifier.get_variable_value("global_step") == 60


def test_the_logits_are_the_sum_of_both(tmp_path):
    wide, deep = {"linear_feature_columns": LINEAR}, {"dnn_feature_columns": DEEP, "dnn_hidden_units": [8, 4]}

    def predictions(name, parts, optimizer, source=None):
        estimator = te.DNNLinearCombinedRegressor(
            **parts,
            linear_optimizer=optimizer,
            dnn_optimizer=optimizer,
            warm_start_from=source,
            config=config(model_dir=str(tmp_path / name)),
        )
        estimator.train(input_of("income"), steps=5)
        rows = estimator.predict(input_of("income", 50, 1), ["predictions"])
        return set(weights(estimator)), np.array([row["predictions"].item() for row in rows])

    names, both = predictions("both", {**wide, **deep}, fast)
    wide_names, by_wide = predictions("wide", wide, still, tmp_path / "both")
    deep_names, by_deep = predictions("deep", deep, still, tmp_path / "both")
    assert (names, wide_names, deep_names) == (LINEAR_NAMES | DNN_NAMES, LINEAR_NAMES, DNN_NAMES)
    assert by_wide.all()
    assert by_deep.any()
    np.testing.assert_allclose(both, by_wide + by_deep, rtol=1e-5, atol=1e-6)


def test_each_half_has_its_optimizer(tmp_path):
    def change(name, **arguments):
        estimator = te.DNNLinearCombinedRegressor(
            linear_feature_columns=ONE,
            dnn_feature_columns=ONE,
            dnn_hidden_units=[2],
            config=config(model_dir=str(tmp_path / name)),
            **arguments,
        )
        estimator.train(lambda: [({"one": np.float32([0])}, np.float32([0.5]))])
        found = weights(estimator)
        return found["linear/linear_model.bias_weights"].item(), found["dnn/logits.bias"].item()

    # The gradient of both biases is -1.
    assert change("names", linear_optimizer="SGD", dnn_optimizer="SGD") == pytest.approx((0.005, 0.001), rel=1e-5)
    ftrl, adagrad = 0.005 / np.sqrt(1.1), 0.001 / np.sqrt(1.1)
    assert change("defaults") == pytest.approx((ftrl, adagrad), rel=1e-4)
    rate = lambda lr: lambda params: torch.optim.SGD(params, lr=lr)  # noqa: E731 (a line for a line)
    assert change("functions", linear_optimizer=rate(0.25), dnn_optimizer=rate(0.0)) == pytest.approx((0.25, 0))
    assert change("classes", linear_optimizer=te.optim.SGD, dnn_optimizer=lambda: te.optim.SGD) == pytest.approx(
        (0.01, 0.01)
    )


def test_going_on_equals_not_stopping(tmp_path):
    def train(folder, first, last):
        batches = list(itertools.islice(input_of("binary")(), first, last))
        estimator = te.DNNLinearCombinedClassifier(
            **PARTS, dnn_dropout=0.2, batch_norm=True, config=config(model_dir=str(tmp_path / folder))
        )
        estimator.train(lambda: batches)
        return {name: value for name, value in contents(tmp_path / folder).items() if name != "state"}

    whole = train("whole", 0, 6)
    train("parts", 0, 2)
    assert train("parts", 2, 6) == whole


@pytest.mark.slow
def test_captured_steps_equal_eager_ones(tmp_path):
    found = []
    for way in ("off", "step"):
        estimator = te.DNNLinearCombinedClassifier(
            linear_feature_columns=LINEAR[:2],
            dnn_feature_columns=[DEEP[0], DEEP[3]],
            dnn_hidden_units=[4],
            config=config(model_dir=str(tmp_path / way), compile=way),
        )
        found.append((losses(estimator, input_of("binary"), 20), weights(estimator)))
    (eager_losses, eager), (captured_losses, captured) = found
    np.testing.assert_allclose(captured_losses, eager_losses, rtol=1e-4)
    for name, value in eager.items():
        np.testing.assert_allclose(captured[name], value, rtol=1e-4, atol=1e-5)


def test_an_export_takes_raw_strings(classifier, tmp_path):
    words = ["baker", "", "na\u00efve", "\u65e5\u672c", "x" * 300, "city 7", "farmer"]
    sent = {
        "age": np.linspace(0.2, 1.8, len(words)).astype(np.float32),
        "score": np.arange(2 * len(words), dtype=np.float32).reshape(-1, 2) / 7 - 1,
        "job": np.array(words, object),
        "city": np.array(words[::-1], object),
    }
    examples = {name: FEATURES[name][:5] for name in sent}
    receiver_fn = te.export.build_raw_serving_input_receiver_fn(examples)
    folder = Path(classifier.export_saved_model(tmp_path, receiver_fn, formats=("onnx",)))
    session = onnxruntime.InferenceSession(folder / "predict" / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(None, sent), strict=True))
    rows = list(classifier.predict(lambda: iter([sent])))
    np.testing.assert_allclose(got["logits"], [row["logits"] for row in rows], rtol=1e-5, atol=1e-5)
    assert got["classes"].ravel().tolist() == [row["classes"].item() for row in rows]


def test_arguments_of_the_network(tmp_path):
    """What is drawn at first does not depend on them, so only they make the loss differ."""

    def found(name, **arguments):
        return first_loss(te.DNNLinearCombinedRegressor, tmp_path / name, input_of("income"), **{**PARTS, **arguments})

    plain = found("plain")
    changes = {
        "dropout": {"dnn_dropout": 0.5},
        "norm": {"batch_norm": True},
        "tanh": {"dnn_activation_fn": torch.tanh},
        "linear": {"dnn_activation_fn": None},
        "units": {"dnn_hidden_units": np.array([3])},
    }
    assert len({plain, *(found(name, **change) for name, change in changes.items())}) == 6
    assert found("sum", loss_reduction="sum") == pytest.approx(32 * plain, rel=1e-5)
    heavy = found("weights", weight_column=fc.numeric_column("weight", normalizer_fn=lambda values: 2 + values * 0))
    assert heavy == pytest.approx(2 * plain, rel=1e-5)


def test_several_numbers_per_label(tmp_path):
    estimator = te.DNNLinearCombinedRegressor(**PARTS, label_dimension=2, config=config(model_dir=str(tmp_path)))
    labels = np.stack([LABELS["income"], -LABELS["income"]], 1)
    estimator.train(te.inputs.numpy_input_fn(FEATURES, labels, 32, num_epochs=None, shuffle=False), steps=1)
    assert weights(estimator)["linear/linear_model.bias_weights"].shape == (2,)
    assert weights(estimator)["dnn/logits.weight"].shape == (2, 4)


@pytest.mark.parametrize(("combiner", "bias"), [("sum", 3.0), ("mean", 1.0), ("sqrtn", 3**0.5)])
def test_how_several_categories_count(combiner, bias, tmp_path):
    """After a step of SGD from zero the weight of a category is that of its share in the logit."""
    estimator = te.DNNLinearCombinedRegressor(
        linear_feature_columns=fc.categorical_column_with_identity("words", 5),
        linear_optimizer=lambda params: torch.optim.SGD(params, lr=0.5),
        linear_sparse_combiner=combiner,
        config=config(model_dir=str(tmp_path)),
    )
    estimator.train(lambda: [({"words": np.array([[1, 2, 3]])}, np.float32([1]))])
    shares = weights(estimator)["linear/linear_model.words.weights"].ravel()
    np.testing.assert_allclose(shares, [0, *[bias / 3] * 3, 0], rtol=1e-5)


def test_any_head(tmp_path):
    heads = [te.BinaryClassHead(name="rich"), te.RegressionHead(name="income")]
    estimator = te.DNNLinearCombinedEstimator(te.MultiHead(heads), **PARTS, config=config(model_dir=str(tmp_path)))
    labels = {"rich": LABELS["binary"], "income": LABELS["income"]}
    input_fn = te.inputs.numpy_input_fn(FEATURES, labels, 64, num_epochs=1, shuffle=False)
    estimator.train(input_fn)
    assert {"accuracy/rich", "average_loss/income"} <= set(estimator.evaluate(input_fn))


def test_weights_of_tensorflow(tmp_path):
    name = "DNNLinearCombinedClassifier"
    source = HERE / "checkpoints" / RECORDED[name]["checkpoint"]
    estimator = te.DNNLinearCombinedClassifier(
        **PARTS, warm_start_from=str(source), config=config(model_dir=str(tmp_path / "whole"))
    )
    np.testing.assert_allclose(losses(estimator, input_of("binary"), 5), RECORDED[name]["losses"][:5], rtol=1e-5)
    head = te.BinaryClassHead()
    part = te.DNNLinearCombinedEstimator(
        head,
        **PARTS,
        dnn_optimizer=still,
        warm_start_from=te.WarmStartSettings(str(source), "dnn/logits"),
        config=config(model_dir=str(tmp_path / "part")),
    )
    part.train(input_of("binary"), steps=1)
    found, stored = weights(part), translate_checkpoint(source)
    same = {each for each in DNN_NAMES if np.array_equal(found[each], stored.read_model(each))}
    assert same == {each for each in DNN_NAMES if each.startswith("dnn/logits") or each.endswith(".bias")}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"linear_feature_columns": None, "dnn_feature_columns": None}, ValueError, "Received: neither"),
        ({"linear_feature_columns": [], "dnn_feature_columns": []}, ValueError, "Received: neither"),
        ({"dnn_hidden_units": None}, ValueError, r"Write: dnn_hidden_units=\[64, 32\]"),
        ({"dnn_hidden_units": []}, ValueError, "`dnn_feature_columns` need `dnn_hidden_units`"),
        ({"dnn_hidden_units": 8}, TypeError, r"Write: dnn_hidden_units=\[8\]"),
        ({"dnn_hidden_units": [8, 0]}, ValueError, "`dnn_hidden_units` must be whole numbers above 0"),
        ({"dnn_feature_columns": None}, ValueError, r"Received: dnn_hidden_units=\[8, 4\] and no columns"),
        ({"dnn_optimizer": "sgd"}, ValueError, "Write: optimizer='SGD'"),
        ({"linear_optimizer": "Momentum"}, ValueError, "Received: 'Momentum'"),
        ({"dnn_dropout": 2}, ValueError, "`dropout` must be a number"),
        ({"dnn_activation_fn": "relu"}, TypeError, "`activation_fn` must be a function"),
        ({"linear_sparse_combiner": "max"}, ValueError, "`sparse_combiner` must be one of"),
        ({"n_classes": 1}, ValueError, "`n_classes`"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        te.DNNLinearCombinedClassifier(**{**PARTS, **arguments})


def test_a_wrong_head():
    with pytest.raises(TypeError, match="`head` must be a head such as"):
        te.DNNLinearCombinedEstimator(None, **PARTS)


def test_a_missing_feature(tmp_path):
    estimator = te.DNNLinearCombinedClassifier(**PARTS, config=config(model_dir=str(tmp_path)))
    features = {name: value for name, value in FEATURES.items() if name != "city"}
    input_fn = te.inputs.numpy_input_fn(features, LABELS["binary"], 32, num_epochs=1, shuffle=False)
    with pytest.raises(ValueError, match=r"needs the feature 'city', .* Received: features \['age', 'job'"):
        estimator.train(input_fn)
