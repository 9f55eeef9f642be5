"""DNNEstimator, DNNClassifier, DNNRegressor; tests/parity holds them against TensorFlow's numbers."""

import itertools
import math

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.estimator.canned.training import DEEP, FEATURES, LEVELS, first_loss, input_of, losses, weights
from tests.models import config, contents
from tests.parity.comparison import HERE, RECORDED
from tests.summary.event_files import load
from torchestimator import feature_column as fc
from torchestimator.checkpoint.tensorflow import translate_checkpoint

WEIGHT_SHAPES = {
    "dnn/hiddenlayer_0.bias": (8,),
    "dnn/hiddenlayer_0.weight": (8, 12),
    "dnn/hiddenlayer_1.bias": (4,),
    "dnn/hiddenlayer_1.weight": (4, 8),
    "dnn/input_from_feature_columns/input_layer.city_embedding.embedding_weights": (30, 4),
    "dnn/logits.bias": (1,),
    "dnn/logits.weight": (1, 4),
}
ONE = fc.numeric_column("one")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier after 60 steps, with summaries every 20."""
    folder = tmp_path_factory.mktemp("dnn")
    estimator = te.DNNClassifier([8, 4], DEEP, folder, optimizer="Adam", config=config(save_summary_steps=20))
    estimator.train(input_of("binary", 64), steps=60)
    return estimator


def still(params):
    """An optimizer that changes nothing."""
    return torch.optim.SGD(params, lr=0.0)


def fast(params):
    return te.optim.Adam(params, learning_rate=0.02)


def test_learning(tmp_path):
    estimator = te.DNNClassifier([16], DEEP, tmp_path, optimizer=fast, config=config())
    estimator.train(input_of("binary", 64), steps=60)
    assert estimator.evaluate(input_of("binary", 100, 1))["accuracy"] > 0.85


def test_names_are_tensorflows(classifier):
    assert {name: value.shape for name, value in weights(classifier).items()} == WEIGHT_SHAPES
    slots = {f"{name}/{slot}" for name in WEIGHT_SHAPES for slot in ("m", "v")}
    assert set(WEIGHT_SHAPES) | slots <= set(classifier.get_variable_names())


def test_summaries_have_tensorflows_tags(classifier):
    tags = load(classifier.model_dir).Tags()
    layers = ["dnn/hiddenlayer_0", "dnn/hiddenlayer_1", "dnn/logits"]
    assert {f"{layer}/fraction_of_zero_values" for layer in layers} | {"loss"} <= set(tags["scalars"])
    assert {f"{layer}/activation" for layer in layers} == set(tags["histograms"])


def test_the_share_of_zeros_is_that_of_dead_units(tmp_path):
    estimator = te.DNNRegressor(
        [5], ONE, tmp_path, activation_fn=lambda values: values * 0, config=config(save_summary_steps=1)
    )
    estimator.train(lambda: [({"one": np.float32([1, 2])}, np.float32([1, 2]))])
    seen = load(tmp_path)
    assert seen.Scalars("dnn/hiddenlayer_0/fraction_of_zero_values")[0].value == 1
    histogram = seen.Histograms("dnn/hiddenlayer_0/activation")[0].histogram_value
    assert (histogram.num, histogram.sum) == (10, 0)


def test_going_on_equals_not_stopping(tmp_path):
    """Dropout's draws, moving averages and slots included."""

    def train(folder, first, last):
        batches = list(itertools.islice(input_of("level")(), first, last))
        estimator = te.DNNClassifier(
            [8, 4], DEEP, tmp_path / folder, 3, label_vocabulary=LEVELS, dropout=0.3, batch_norm=True, config=config()
        )
        estimator.train(lambda: batches)
        return {name: value for name, value in contents(tmp_path / folder).items() if name != "state"}

    whole = train("whole", 0, 7)
    train("parts", 0, 3)
    assert train("parts", 3, 7) == whole


def test_dropout_changes_training_alone(tmp_path):
    found = {}
    for dropout in (None, 0.5):
        found[dropout] = first_loss(
            te.DNNRegressor,
            tmp_path / str(dropout),
            input_of("income"),
            hidden_units=[8],
            feature_columns=DEEP,
            dropout=dropout,
        )
    assert found[None] != found[0.5]
    frozen = te.DNNRegressor([8], DEEP, optimizer=still, dropout=0.5, config=config(model_dir=str(tmp_path / "still")))
    frozen.train(input_of("income"), steps=1)
    first, second = (frozen.evaluate(input_of("income", 32), steps=1)["loss"] for _ in range(2))
    assert first == second == pytest.approx(found[None], rel=1e-5)


def test_batch_norm_is_saved_and_used(tmp_path):
    estimator = te.DNNRegressor(
        [3], ONE, tmp_path, optimizer=still, activation_fn=None, batch_norm=True, config=config()
    )
    batch = np.float32([1, 2, 6])
    estimator.train(lambda: [({"one": batch}, batch)])
    found = weights(estimator)
    hidden = batch[:, None] * found["dnn/hiddenlayer_0.weight"].T
    norm = "dnn/hiddenlayer_0/batchnorm_0"
    np.testing.assert_allclose(found[f"{norm}.running_mean"], 0.001 * hidden.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found[f"{norm}.running_var"], 0.999 + 0.001 * hidden.var(0), rtol=1e-5)
    normed = (hidden - found[f"{norm}.running_mean"]) / np.sqrt(found[f"{norm}.running_var"] + 1e-3)
    rows = list(estimator.predict(lambda: iter([{"one": batch}])))
    expected = normed @ found["dnn/logits.weight"].T
    np.testing.assert_allclose([row["predictions"] for row in rows], expected, rtol=1e-4, atol=1e-6)


def test_a_batch_of_one_trains(tmp_path):
    estimator = te.DNNRegressor([3], ONE, tmp_path, batch_norm=True, config=config())
    x = np.float32([1, 2, 3, 4, 5])
    estimator.train(te.inputs.numpy_input_fn({"one": x}, x, 2, num_epochs=1, shuffle=False))
    assert np.isfinite(estimator.evaluate(lambda: iter([({"one": x}, x)]))["loss"])


def test_activations(tmp_path):
    batch = {"one": np.float32([2])}
    for name, activation in (("tanh", torch.tanh), ("linear", None)):
        estimator = te.DNNRegressor(
            [3], ONE, tmp_path / name, optimizer=still, activation_fn=activation, config=config()
        )
        estimator.train(lambda: [(batch, np.float32([1]))])
        found = weights(estimator)
        hidden = 2 * found["dnn/hiddenlayer_0.weight"].T
        hidden = np.tanh(hidden) if activation else hidden
        (row,) = estimator.predict(lambda: iter([batch]))
        np.testing.assert_allclose(row["predictions"], (hidden @ found["dnn/logits.weight"].T)[0], rtol=1e-5)


def test_several_numbers_weights_and_sums(tmp_path):
    features = {"one": np.float32([0, 0]), "w": np.float32([3, 1])}
    labels = np.float32([[1, -1], [3, 5]])
    common = {"hidden_units": [2], "feature_columns": ONE, "label_dimension": 2}

    def found(name, **arguments):
        return first_loss(te.DNNRegressor, tmp_path / name, lambda: [(features, labels)], **common, **arguments)

    assert found("plain") == pytest.approx((1 + 1 + 9 + 25) / 4)
    assert found("sum", loss_reduction="sum") == pytest.approx(36)
    assert found("weights", weight_column="w", loss_reduction="sum") == pytest.approx(3 * 2 + 34)


def test_classes_and_their_names(tmp_path):
    estimator = te.DNNClassifier([8], DEEP, tmp_path, 3, label_vocabulary=LEVELS, optimizer="Adam", config=config())
    assert losses(estimator, input_of("level"), 3)[0] == pytest.approx(math.log(3), rel=0.5)
    (row,) = itertools.islice(estimator.predict(input_of("level", 10, 1)), 1)
    assert row["probabilities"].shape == (3,)
    assert row["probabilities"].sum() == pytest.approx(1)
    assert row["all_classes"].tolist() == LEVELS
    assert row["classes"].item() == LEVELS[row["probabilities"].argmax()]


@pytest.mark.parametrize(
    ("optimizer", "slots", "step"),
    [
        ("Adagrad", {"accumulator"}, 0.001 / math.sqrt(1.1) * 1),
        ("SGD", set(), 0.01),
        ("RMSProp", {"rms"}, 0.001 / math.sqrt(0.1)),
        ("Adam", {"m", "v"}, 0.001),
        (lambda params: torch.optim.SGD(params, lr=0.5), set(), 0.5),
        (te.optim.SGD, set(), 0.01),
    ],
)
def test_optimizers(optimizer, slots, step, tmp_path):
    """The gradient of the bias of the logits is -1."""
    estimator = te.DNNRegressor([2], ONE, tmp_path, optimizer=optimizer, config=config())
    estimator.train(lambda: [({"one": np.float32([0])}, np.float32([0.5]))])
    assert weights(estimator)["dnn/logits.bias"].item() == pytest.approx(step, rel=1e-4)
    prefix = "dnn/logits.bias/"
    kept = {name.removeprefix(prefix) for name in estimator.get_variable_names() if name.startswith(prefix)}
    assert slots <= kept


def test_weights_of_tensorflow(tmp_path):
    source = HERE / "checkpoints" / RECORDED["DNNClassifier"]["checkpoint"]
    whole = te.DNNClassifier([8, 4], DEEP, tmp_path / "whole", warm_start_from=source, config=config())
    recorded = RECORDED["DNNClassifier"]["losses"][:5]
    np.testing.assert_allclose(losses(whole, input_of("binary"), 5), recorded, rtol=1e-5)
    some = te.WarmStartSettings(str(source), vars_to_warm_start="dnn/hiddenlayer_0")
    part = te.DNNClassifier([8, 4], DEEP, tmp_path / "part", optimizer=still, warm_start_from=some, config=config())
    part.train(input_of("binary"), steps=1)
    stored, found = translate_checkpoint(source), weights(part)
    same = {name for name, value in found.items() if np.array_equal(value, stored.read_model(name))}
    assert same == {name for name in WEIGHT_SHAPES if "hiddenlayer_0" in name or name.endswith(".bias")}


def test_weights_of_another_training(classifier, tmp_path):
    """The optimizer starts anew, so any will do."""
    estimator = te.DNNClassifier(
        [8, 4], DEEP, tmp_path, optimizer=still, warm_start_from=classifier.model_dir, config=config()
    )
    estimator.train(input_of("binary"), steps=1)
    first, second = weights(classifier), weights(estimator)
    assert set(first) == set(second)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_other_sizes_than_those_of_the_checkpoint(classifier, tmp_path):
    estimator = te.DNNClassifier([8, 5], DEEP, tmp_path, warm_start_from=classifier.model_dir, config=config())
    with pytest.raises(ValueError, match=r"'dnn/hiddenlayer_1.weight' has shape \[5, 8\] in the model and \[4, 8\]"):
        estimator.train(input_of("binary"), steps=1)


def test_ragged_and_sparse_features_in_embeddings(tmp_path):
    words = fc.embedding_column(fc.categorical_column_with_identity("words", 4), 2, combiner="sum")
    ids, offsets = torch.tensor([0, 1, 3, 3]), torch.tensor([0, 2, 2, 4])
    places = torch.tensor([[0, 0, 2, 2], [0, 1, 0, 1]])
    layouts = {
        "ragged": fc.RaggedFeature(ids, offsets),
        "sparse": torch.sparse_coo_tensor(places, ids, (3, 2), check_invariants=True),
        "dense": torch.tensor([[0, 1], [-1, -1], [3, 3]]),
    }
    found = []
    for name, feature in layouts.items():
        estimator = te.DNNRegressor([3], words, tmp_path / name, optimizer="Adam", config=config())
        batch = {"words": feature}, torch.tensor([1.0, 2.0, 3.0])
        found.append(losses(estimator, lambda batch=batch: [batch] * 5, 5))
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-5)


def test_any_head(tmp_path):
    estimator = te.DNNEstimator(te.PoissonRegressionHead(), [4], DEEP, tmp_path, optimizer=fast, config=config())
    counts = np.round(np.exp(np.clip(FEATURES["score"][:, 0], -1, 2))).astype(np.float32)
    input_fn = te.inputs.numpy_input_fn(FEATURES, counts, 64, num_epochs=None, shuffle=False)
    found = losses(estimator, input_fn, 40)
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
    assert all(row["predictions"].item() > 0 for row in itertools.islice(estimator.predict(input_fn), 20))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"hidden_units": 8}, TypeError, r"Received: 8. Write: hidden_units=\[8\]"),
        ({"hidden_units": None}, TypeError, "`hidden_units` must be a list"),
        ({"hidden_units": [0]}, ValueError, "`hidden_units` must be whole numbers above 0"),
        ({"feature_columns": []}, ValueError, "`feature_columns` must have one or more columns"),
        ({"optimizer": "adagrad"}, ValueError, "Write: optimizer='Adagrad'"),
        ({"optimizer": None}, TypeError, "`optimizer` must be one of the names .* Received: None"),
        ({"dropout": -0.1}, ValueError, "`dropout` must be a number at least 0 and below 1"),
        ({"activation_fn": "relu"}, TypeError, "`activation_fn` must be a function"),
        ({"label_dimension": 0}, ValueError, "`label_dimension`"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        te.DNNRegressor(**{"hidden_units": [4], "feature_columns": DEEP, **arguments})


def test_a_wrong_head():
    with pytest.raises(TypeError, match="`head` must be a head such as"):
        te.DNNEstimator(te.RegressionHead, [4], DEEP)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([fc.categorical_column_with_hash_bucket("job", 9)], r"'job' is categories.* Write: embedding_column\("),
        ([fc.sequence_numeric_column("score")], "'score' is a sequence"),
    ],
)
def test_columns_that_are_no_numbers(columns, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        te.DNNClassifier([2], columns, tmp_path, config=config())


def test_labels_that_are_no_classes(tmp_path):
    estimator = te.DNNClassifier([2], DEEP, tmp_path, 3, config=config())
    labels = np.array([0, 3, 1, -1, 7, 9] + [2] * 314)
    wrong = te.inputs.numpy_input_fn(FEATURES, labels, 32, num_epochs=1, shuffle=False)
    with pytest.raises(ValueError, match=r"Received: 3 \(row 1\), -1 \(row 3\), 7 \(row 4\), and 1 more of 32"):
        estimator.train(wrong)
    with pytest.raises(ValueError, match="`label_vocabulary`"):
        te.DNNClassifier([2], DEEP, tmp_path, 3, label_vocabulary=LEVELS[:2])
