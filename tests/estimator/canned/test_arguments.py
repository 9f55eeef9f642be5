import inspect

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.estimator.canned.training import DEEP, LEVELS, LINEAR, input_of, losses, weights
from tests.models import config
from torchestimator.checkpoint import Checkpoint
from torchestimator.estimator.canned.arguments import check_head, layer_sizes, whole_number


def test_heads():
    check_head(te.RegressionHead())
    check_head(te.MultiHead([te.RegressionHead(name="a"), te.BinaryClassHead(name="b")]))
    for wrong in ("binary", te.RegressionHead, None):
        with pytest.raises(TypeError, match=r"`head` must be a head such as te\.RegressionHead\(\)"):
            check_head(wrong)


@pytest.mark.parametrize(
    ("given", "sizes"), [([8, 4], [8, 4]), ((3,), [3]), (np.array([5, 2]), [5, 2]), ([np.int64(7)], [7]), ([], [])]
)
def test_sizes_of_layers(given, sizes):
    found = layer_sizes(given)
    assert found == sizes
    assert all(type(size) is int for size in found)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (8, TypeError, r"`units` must be a list .* Received: 8\. Write: units=\[8\]"),
        ("8", TypeError, "Received: '8'"),
        (None, TypeError, "Received: None"),
        ({4: 2}, TypeError, r"Received: \{4: 2\}"),
        ([8, 0], ValueError, "`units` must be whole numbers above 0. Received: 0"),
        ([2.5], ValueError, "Received: 2.5"),
        ([True], ValueError, "Received: True"),
        (["8"], ValueError, "Received: '8'"),
    ],
)
def test_wrong_sizes(given, error, message):
    with pytest.raises(error, match=message):
        layer_sizes(given, "units")


def test_whole_numbers():
    assert whole_number(np.int32(3), "units") == 3
    with pytest.raises(ValueError, match=r"`units` must be whole numbers above 0\. Received: -1"):
        whole_number(-1, "units")


def rate(learning_rate):
    return lambda params: torch.optim.SGD(params, lr=learning_rate)


EVERY_ARGUMENT = {
    "Linear": {"feature_columns": LINEAR, "optimizer": rate(1e-4), "sparse_combiner": "sqrtn"},
    "DNN": {
        "feature_columns": DEEP,
        "hidden_units": [5],
        "optimizer": rate(1e-4),
        "activation_fn": torch.tanh,
        "dropout": 0.2,
        "batch_norm": True,
    },
    "DNNLinearCombined": {
        "linear_feature_columns": LINEAR,
        "linear_optimizer": rate(1e-4),
        "linear_sparse_combiner": "mean",
        "dnn_feature_columns": DEEP,
        "dnn_optimizer": rate(2e-4),
        "dnn_hidden_units": [5],
        "dnn_activation_fn": torch.tanh,
        "dnn_dropout": 0.2,
        "batch_norm": True,
    },
    "Baseline": {"optimizer": rate(1e-4)},
}
COMMON = {"weight_column": "weight", "loss_reduction": "sum"}
TARGETS = {
    "Classifier": (
        "level",
        {"n_classes": 3, "label_vocabulary": LEVELS},
        lambda: te.MultiClassHead(3, "weight", LEVELS, "sum"),
    ),
    "Regressor": ("income", {"label_dimension": 1}, lambda: te.RegressionHead(1, "weight", "sum")),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", EVERY_ARGUMENT)
def test_every_argument_arrives(model, target, tmp_path):
    """A Classifier or Regressor with all arguments is the Estimator of the same head with them."""
    label, of_head, make_head = TARGETS[target]
    kind, general, shared = getattr(te, model + target), getattr(te, f"{model}Estimator"), EVERY_ARGUMENT[model]

    def settings(name):
        return {**shared, "config": config(model_dir=str(tmp_path / name))}

    first = kind(**settings("first"), **of_head, **COMMON)
    second = general(make_head(), **settings("second"))
    assert losses(first, input_of(label), 4) == losses(second, input_of(label), 4)
    found, expected = weights(first), weights(second)
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in expected.items()
    }
    taken = set(inspect.signature(kind).parameters)
    assert taken - {"model_dir", "config", "warm_start_from"} == {*shared, *of_head, *COMMON}
    if "warm_start_from" in taken:
        third = kind(**settings("third"), **of_head, **COMMON, warm_start_from=first.model_dir)
        third.train(input_of(label), steps=1)
        start = Checkpoint(tmp_path / "third" / "model.ckpt-0")
        assert {name: start.read_model(name).tolist() for name in found} == {
            name: value.tolist() for name, value in found.items()
        }
