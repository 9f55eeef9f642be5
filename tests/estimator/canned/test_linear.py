"""LinearEstimator, LinearClassifier, LinearRegressor; tests/parity holds them against TensorFlow's numbers."""

import itertools
import math

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.checkpoint.tensorflow.stored import DATA
from tests.estimator.canned.training import FEATURES, LABELS, LEVELS, LINEAR, first_loss, input_of, losses, weights
from tests.models import config, contents
from tests.summary.event_files import load
from torchestimator import feature_column as fc
from torchestimator.checkpoint.tensorflow import translate_checkpoint

WEIGHT_SHAPES = {
    "linear/linear_model.age_bucketized.weights": (4, 1),
    "linear/linear_model.age_bucketized_X_job.weights": (50, 1),
    "linear/linear_model.bias_weights": (1,),
    "linear/linear_model.city.weights": (30, 1),
    "linear/linear_model.job.weights": (5, 1),
}
ONES = fc.numeric_column("one")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier after 30 steps, with summaries of each."""
    folder = tmp_path_factory.mktemp("linear")
    estimator = te.LinearClassifier(LINEAR, folder, config=config(save_summary_steps=1))
    estimator.train(input_of("binary"), steps=30)
    return estimator


def one_step(folder, x=1.0, label=1.0, columns=ONES, **arguments):
    """Weights after a step of a regression on a single example."""
    estimator = te.LinearRegressor(columns, config=config(model_dir=str(folder)), **arguments)
    estimator.train(lambda: [({"one": np.float32([x])}, np.float32([label]))])
    return weights(estimator)


def test_learning(classifier):
    metrics = classifier.evaluate(input_of("binary", 100, 1))
    assert metrics["accuracy"] > 0.75
    assert metrics["loss"] < 0.55
    assert metrics["global_step"] == 30


def test_names_are_tensorflows(classifier):
    assert {name: value.shape for name, value in weights(classifier).items()} == WEIGHT_SHAPES
    slots = {f"{name}/{slot}" for name in WEIGHT_SHAPES for slot in ("accumulator", "linear")}
    assert set(classifier.get_variable_names()) == {*WEIGHT_SHAPES, *slots, "global_step"}


def test_summaries_have_tensorflows_tags(classifier, tmp_path):
    seen = load(classifier.model_dir)
    assert {"loss", "bias", "fraction_of_zero_weights"} <= set(seen.Tags()["scalars"])
    assert [each.step for each in seen.Scalars("bias")] == list(range(31))[-len(seen.Scalars("bias")) :]
    values = np.concatenate([value.ravel() for name, value in weights(classifier).items() if "bias_" not in name])
    # That of a step is taken before its update; 30 steps reach every weight that they ever do.
    assert seen.Scalars("fraction_of_zero_weights")[-1].value == pytest.approx((values == 0).mean(), abs=1e-6)
    assert seen.Scalars("fraction_of_zero_weights")[0].value == 1

    several = te.LinearClassifier(LINEAR, tmp_path, 3, label_vocabulary=LEVELS, config=config(save_summary_steps=1))
    several.train(input_of("level"), steps=1)
    assert "bias" in load(tmp_path).Tags()["histograms"]
    assert "bias" not in load(tmp_path).Tags()["scalars"]


def test_going_on_equals_not_stopping(tmp_path):
    def train(folder, first, last):
        batches = list(itertools.islice(input_of("binary")(), first, last))
        te.LinearClassifier(LINEAR, tmp_path / folder, config=config()).train(lambda: batches)
        return {name: value for name, value in contents(tmp_path / folder).items() if name != "state"}

    whole = train("whole", 0, 7)
    train("parts", 0, 3)
    assert train("parts", 3, 7) == whole


def test_classes_and_their_names(tmp_path):
    assert first_loss(te.LinearClassifier, tmp_path / "2", input_of("binary"), feature_columns=LINEAR) == pytest.approx(
        math.log(2)
    )
    estimator = te.LinearClassifier(LINEAR, tmp_path / "3", 3, label_vocabulary=LEVELS, config=config())
    assert losses(estimator, input_of("level"), 20)[0] == pytest.approx(math.log(3))
    rows = list(estimator.predict(input_of("level", 100, 1), ["classes", "class_ids"]))
    assert {row["classes"].item() for row in rows} <= set(LEVELS)
    assert all(LEVELS[row["class_ids"].item()] == row["classes"].item() for row in rows)
    assert np.mean([row["classes"].item() for row in rows] == LABELS["level"]) > 0.5


def test_several_numbers_per_label(tmp_path):
    labels = np.float32([[1, -1], [3, 5]])
    estimator = te.LinearRegressor(ONES, tmp_path, label_dimension=2, optimizer=te.optim.SGD, config=config())
    estimator.train(lambda: [({"one": np.float32([1, 1])}, labels)] * 800)
    (row, _) = estimator.predict(lambda: iter([{"one": np.float32([1, 1])}]))
    np.testing.assert_allclose(row["predictions"], [2, 2], atol=1e-3)


def test_weights_of_examples(tmp_path):
    features = {"one": np.float32([1, 1]), "w": np.float32([3, 0])}
    labels = np.float32([2, 100])
    for name, column in (("name", "w"), ("column", fc.numeric_column("w", normalizer_fn=lambda values: values * 5))):
        found = first_loss(
            te.LinearRegressor,
            tmp_path / name,
            lambda: [(features, labels)],
            feature_columns=ONES,
            weight_column=column,
        )
        assert found == pytest.approx(4 * 3 / 2 * (1 if name == "name" else 5))


def test_the_sum_of_losses(tmp_path):
    found = first_loss(te.LinearClassifier, tmp_path, input_of("binary"), feature_columns=LINEAR, loss_reduction="sum")
    assert found == pytest.approx(32 * math.log(2), rel=1e-6)


@pytest.mark.parametrize(("combiner", "logit"), [("sum", 9.0), ("mean", 3.0), ("sqrtn", 9 / math.sqrt(3))])
def test_how_several_categories_count(combiner, logit, tmp_path):
    """The first example has the weights 2, 3 and 4."""
    words = fc.categorical_column_with_identity("words", 5)
    table = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])

    class Given(te.SessionRunHook):
        def after_create_session(self, session, coord):
            session.module.state_dict()["linear/linear_model.words.weights"].copy_(table)

    estimator = te.LinearRegressor(
        words,
        tmp_path,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.0),
        sparse_combiner=combiner,
        config=config(),
    )
    features = {"words": np.array([[1, 2, 3], [0, -1, -1]])}
    estimator.train(lambda: [(features, np.float32([0, 0]))], [Given()])
    first, second = estimator.predict(lambda: iter([features]))
    assert first["predictions"].item() == pytest.approx(logit)
    assert second["predictions"].item() == pytest.approx(1)


def test_optimizers(tmp_path):
    """The gradient at 0 of (w + b - 1)**2 is -2 for both."""
    sgd = one_step(tmp_path / "name", optimizer="SGD")
    assert sgd["linear/linear_model.one.weights"].item() == pytest.approx(2 * 0.2)
    fast = one_step(tmp_path / "function", optimizer=lambda params: torch.optim.SGD(params, lr=0.05))
    assert fast["linear/linear_model.bias_weights"].item() == pytest.approx(2 * 0.05)
    own = one_step(tmp_path / "class", optimizer=te.optim.SGD)
    assert own["linear/linear_model.bias_weights"].item() == pytest.approx(2 * 0.01)
    made = one_step(tmp_path / "factory", optimizer=lambda: te.optim.SGD)
    assert made["linear/linear_model.bias_weights"].item() == pytest.approx(2 * 0.01)

    def ftrl(rate):
        return rate * 2 / math.sqrt(0.1 + 4)

    default = one_step(tmp_path / "default")
    assert default["linear/linear_model.bias_weights"].item() == pytest.approx(ftrl(0.2), rel=1e-5)
    columns = [ONES, *(fc.bucketized_column(fc.numeric_column("one"), [place]) for place in (0.5,))]
    for given in (ONES, columns):
        none = one_step(tmp_path / f"none {given is ONES}", columns=given, optimizer=None)
        assert none["linear/linear_model.bias_weights"].item() == pytest.approx(ftrl(0.2), rel=1e-5)


def test_the_rate_without_an_optimizer_falls_with_the_columns(tmp_path):
    columns = [fc.numeric_column(f"x{number}") for number in range(30)]
    features = {column.key: np.float32([0]) for column in columns}
    estimator = te.LinearRegressor(columns, tmp_path, optimizer=None, config=config())
    estimator.train(lambda: [(features, np.float32([1]))])
    bias = weights(estimator)["linear/linear_model.bias_weights"].item()
    assert bias == pytest.approx(2 / math.sqrt(30) / math.sqrt(4.1), rel=1e-5)


def test_weights_of_tensorflow(tmp_path):
    """Optimizers start anew, as with any warm start."""
    columns = [fc.numeric_column("n", shape=(2,)), fc.categorical_column_with_vocabulary_list("c", ["a", "b", "x"])]
    frozen = lambda params: torch.optim.SGD(params, lr=0.0)  # noqa: E731 (a line for a line)
    source = DATA / "linear_v1_partitioned"
    for name, warm in (("path", str(source)), ("settings", te.WarmStartSettings(str(source)))):
        estimator = te.LinearClassifier(
            columns, tmp_path / name, optimizer=frozen, warm_start_from=warm, config=config()
        )
        batch = {"n": np.float32([[1, 2]]), "c": np.array(["b"])}
        estimator.train(lambda batch=batch: [(batch, np.array([1]))])
        found, stored = weights(estimator), translate_checkpoint(source)
        assert set(found) == set(stored.model_shapes)
        for weight, value in found.items():
            np.testing.assert_array_equal(value, stored.read_model(weight))
        (row,) = estimator.predict(lambda batch=batch: iter([batch]))
        n, c, bias = (found[f"linear/linear_model.{each}"] for each in ("n.weights", "c.weights", "bias_weights"))
        np.testing.assert_allclose(row["logits"], n[0] + 2 * n[1] + c[1] + bias, rtol=1e-6)


def ragged(words):
    offsets = np.cumsum([0, *map(len, words)])
    return te.feature_column.RaggedFeature([word for row in words for word in row], offsets)


def sparse(words):
    places = [(row, place) for row, each in enumerate(words) for place in range(len(each))]
    values = te.inputs.fingerprint64([word for row in words for word in row])
    shape = (len(words), max(map(len, words)))
    return torch.sparse_coo_tensor(torch.tensor(places).T, torch.from_numpy(values), shape, check_invariants=True)


def test_several_words_per_example_in_every_layout(tmp_path):
    words = [["a", "b"], [], ["b"], ["zz", "a", "a"]]
    dense = np.array([["a", "b", ""], ["", "", ""], ["b", "", ""], ["zz", "a", "a"]])
    labels = np.float32([3, 0, 1, 8])
    columns = [fc.categorical_column_with_vocabulary_list("words", ["a", "b"], num_oov_buckets=1), ONES]
    found = {}
    for name, feature in (("dense", dense), ("ragged", ragged(words)), ("sparse", sparse(words))):
        features = {"words": feature, "one": np.ones(4, np.float32)}
        estimator = te.LinearRegressor(columns, tmp_path / name, config=config())
        estimator.train(lambda features=features: [(features, labels)] * 30)
        metrics = estimator.evaluate(lambda features=features: iter([(features, labels)]))
        rows = list(estimator.predict(lambda features=features: iter([features]), ["predictions"]))
        found[name] = [metrics["loss"], *(row["predictions"].item() for row in rows)]
    np.testing.assert_allclose(found["ragged"], found["dense"], rtol=1e-5)
    np.testing.assert_allclose(found["sparse"], found["dense"], rtol=1e-5)


def test_any_head(tmp_path):
    head = te.MultiHead([te.RegressionHead(name="income"), te.PoissonRegressionHead(name="count")])
    estimator = te.LinearEstimator(head, LINEAR, tmp_path, config=config())
    labels = {"income": LABELS["income"], "count": LABELS["binary"].astype(np.float32)}
    input_fn = te.inputs.numpy_input_fn(FEATURES, labels, 64, num_epochs=1, shuffle=False)
    estimator.train(input_fn)
    assert {"loss/income", "loss/count"} <= set(estimator.evaluate(input_fn))
    assert weights(estimator)["linear/linear_model.bias_weights"].shape == (2,)


def test_the_config(tmp_path):
    estimator = te.LinearClassifier(LINEAR, config=config(model_dir=str(tmp_path), save_checkpoints_steps=2))
    assert estimator.model_dir == str(tmp_path)
    estimator.train(input_of("binary"), steps=5)
    assert {"model.ckpt-0", "model.ckpt-2", "model.ckpt-4", "model.ckpt-5"} <= {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"feature_columns": []}, ValueError, "`feature_columns` must have one or more columns"),
        ({"optimizer": "Momentum"}, ValueError, r"`optimizer` must be one of .* Received: 'Momentum'"),
        ({"optimizer": "adam"}, ValueError, "Write: optimizer='Adam'"),
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)},
            TypeError,
            r"Write: optimizer=lambda params: torch.optim.SGD\(params, lr=0.5\)",
        ),
        ({"n_classes": 1}, ValueError, "`n_classes` must be an integer above 2"),
        ({"n_classes": 3, "label_vocabulary": ["x"]}, ValueError, "`label_vocabulary`"),
        ({"weight_column": 3}, TypeError, "`weight_column` must be the name"),
        ({"loss_reduction": "avg"}, ValueError, "`loss_reduction` must be one of"),
        ({"sparse_combiner": "max"}, ValueError, "`sparse_combiner` must be one of"),
        ({"config": {"seed": 1}}, TypeError, "`config` must be a te.RunConfig"),
        ({"warm_start_from": 4}, ValueError, "`warm_start_from` must be the path"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        te.LinearClassifier(**{"feature_columns": LINEAR, **arguments})


def test_a_wrong_head():
    with pytest.raises(TypeError, match="`head` must be a head such as"):
        te.LinearEstimator("binary", LINEAR)


@pytest.mark.parametrize(
    ("arguments", "features", "labels", "error", "message"),
    [
        ({}, {"two": [1.0, 2.0]}, [0, 1], ValueError, r"needs the feature 'one', .* Received: features \['two'\]"),
        ({}, {"one": ["a", "b"]}, [0, 1], TypeError, "takes the feature 'one' for numbers"),
        ({}, [[1.0], [2.0]], [0, 1], TypeError, "`features` must be a dict"),
        ({}, {"one": [1.0, 2.0]}, [0, 2], ValueError, r"`labels` must be between 0 and 1.* Received: 2 \(row 1\)"),
        ({"n_classes": 4}, {"one": [1.0, 2.0]}, [-1, 4], ValueError, r"Received: -1 \(row 0\), 4 \(row 1\)"),
        ({"label_vocabulary": ["x", "y"]}, {"one": [1.0, 2.0]}, ["x", "q"], ValueError, r"none of them \(row 1\)"),
        ({"weight_column": "w"}, {"one": [1.0, 2.0], "w": [1.0, -2.0]}, [0, 1], ValueError, r"Received: -2 \(row 1\)"),
        ({"weight_column": "w"}, {"one": [1.0, 2.0]}, [0, 1], ValueError, "`weight_column` names the feature 'w'"),
        ({"weight_column": "w"}, {"one": [1.0, 2.0], "w": [[1.0, 2.0]] * 2}, [0, 1], ValueError, "one number per"),
        ({"feature_columns": [ONES, ONES]}, {"one": [1.0, 2.0]}, [0, 1], ValueError, r"more than once: \['one'\]"),
        ({}, {"one": [1.0, 2.0]}, [0, 1, 1], ValueError, "disagree on the size of the batch"),
    ],
)
def test_wrong_batches(arguments, features, labels, error, message, tmp_path):
    estimator = te.LinearClassifier(**{"feature_columns": ONES, **arguments}, model_dir=tmp_path, config=config())
    given = (
        {name: np.array(value) for name, value in features.items()}
        if isinstance(features, dict)
        else np.array(features)
    )
    with pytest.raises(error, match=message):
        estimator.train(lambda: [(given, np.array(labels))])
