import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

import torchestimator as te
from tests.models import config
from torchestimator import feature_column as fc
from torchestimator.experimental import call_logit_fn, dnn_logit_fn_builder, linear_logit_fn_builder

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
TRAIN, EVAL = te.ModeKeys.TRAIN, te.ModeKeys.EVAL


def columns():
    return [fc.numeric_column("x", shape=(2,))]


class Net:
    """A logit function inside a model_fn."""

    def __init__(self, logit_fn):
        def model_fn(features, mode):
            logits = call_logit_fn(logit_fn, features, mode)
            loss = logits.square().mean()
            train_op = te.minimize(loss, te.optim.SGD)
            return te.EstimatorSpec(mode, predictions={"logits": logits}, loss=loss, train_op=train_op)

        self.module = te.ModelFnModule(model_fn, seed=1)
        self.module.build({"x": X}, None, TRAIN)
        self.weights = self.module.state_dict()

    def __call__(self, mode, x=X):
        self.module.set_mode(mode)
        return self.module({"x": x}).predictions["logits"].detach()


def deep(hidden_units=(4,), units=1, **arguments):
    return dnn_logit_fn_builder(units, hidden_units, columns(), **arguments)


def test_logit_functions_of_a_model_fn_of_ones_own(tmp_path):
    wide_fn, deep_fn = linear_logit_fn_builder(3, columns(), "mean"), deep([4], units=3)

    def model_fn(features, labels, mode):
        logits = call_logit_fn(wide_fn, features, mode) + call_logit_fn(deep_fn, features, mode)
        return te.MultiClassHead(3).create_estimator_spec(
            features, mode, logits, labels, lambda params: torch.optim.Adam(params, lr=0.05)
        )

    estimator = te.Estimator(model_fn, tmp_path, config())
    random = np.random.RandomState(1)
    x = random.standard_normal((200, 2)).astype(np.float32)
    input_fn = te.inputs.numpy_input_fn({"x": x}, (x[:, 0] > 0) + 0 + (x[:, 1] > 0), 50, None, shuffle=False)
    estimator.train(input_fn, steps=120)
    assert estimator.evaluate(input_fn, steps=4)["accuracy"] > 0.85
    assert {"linear_model.x.weights", "hiddenlayer_0.weight", "logits.weight"} <= set(estimator.get_variable_names())


def test_a_linear_model_starts_at_zero():
    net = Net(linear_logit_fn_builder(2, columns()))
    assert net(TRAIN).tolist() == [[0.0, 0.0]] * 6
    assert {name: list(each.shape) for name, each in net.weights.items()} == {
        "linear_model.bias_weights": [2],
        "linear_model.x.weights": [2, 2],
    }


def test_names_and_shapes_of_a_network():
    net = Net(deep([4, 3], units=2, batch_norm=True))
    shapes = {name: list(each.shape) for name, each in net.weights.items()}
    expected = {"logits.weight": [2, 3], "logits.bias": [2]}
    for index, (inputs, size) in enumerate([(2, 4), (4, 3)]):
        expected |= {f"hiddenlayer_{index}.weight": [size, inputs], f"hiddenlayer_{index}.bias": [size]}
        norm = f"hiddenlayer_{index}/batchnorm_{index}"
        expected |= {f"{norm}.{each}": [size] for each in ("weight", "bias", "running_mean", "running_var")}
    assert shapes == expected


def test_a_network_without_hidden_layers_is_one_product():
    net = Net(deep([]))
    torch.testing.assert_close(net(EVAL), X @ net.weights["logits.weight"].T)


def test_each_part_of_a_layer_comes_in_its_place():
    """Product, activation, batch normalisation; the next layer."""
    net = Net(deep([4, 3], activation_fn=torch.tanh, batch_norm=True))
    hidden = X
    for index in range(2):
        hidden = torch.tanh(hidden @ net.weights[f"hiddenlayer_{index}.weight"].T)
        variance, mean = torch.var_mean(hidden, 0, correction=0)
        hidden = (hidden - mean) / torch.sqrt(variance + 1e-3)
    torch.testing.assert_close(net(TRAIN), hidden @ net.weights["logits.weight"].T)


def test_outside_of_training_the_moving_averages_count():
    net = Net(deep([4], activation_fn=None, batch_norm=True))
    for name, value in (("running_mean", 2.0), ("running_var", 9.0)):
        net.weights[f"hiddenlayer_0/batchnorm_0.{name}"].fill_(value)
    hidden = (X @ net.weights["hiddenlayer_0.weight"].T - 2) / math.sqrt(9 + 1e-3)
    expected = hidden @ net.weights["logits.weight"].T
    torch.testing.assert_close(net(EVAL), expected)
    torch.testing.assert_close(net(EVAL, X[:1]), expected[:1])


@pytest.mark.parametrize(("activation", "function"), [(torch.relu, torch.relu), (nn.Tanh(), torch.tanh)])
def test_activations(activation, function):
    net = Net(deep([4], activation_fn=activation))
    hidden = function(X @ net.weights["hiddenlayer_0.weight"].T)
    torch.testing.assert_close(net(EVAL), hidden @ net.weights["logits.weight"].T)
    linear = Net(deep([4], activation_fn=None))
    torch.testing.assert_close(linear(EVAL, X[:1] + X[1:2]), linear(EVAL, X[:1]) + linear(EVAL, X[1:2]))


def test_dropout_acts_in_training_alone():
    net = Net(deep([400], activation_fn=torch.ones_like, dropout=0.25))
    net.weights["logits.weight"].fill_(1)
    assert net(EVAL).flatten().tolist() == [400.0] * 6
    kept = net(TRAIN).flatten() * 0.75 / 400
    assert kept.unique().numel() > 1
    torch.testing.assert_close(kept, torch.full((6,), 0.75), atol=0.12, rtol=0)
    assert not torch.equal(net(TRAIN), net(TRAIN))
    assert torch.equal(Net(deep([4], dropout=0.0))(TRAIN), Net(deep([4]))(TRAIN))


def test_logits_of_a_function_with_any_arguments():
    features, params = {"x": X}, {"scale": 3}

    def scaled(features, params, config):
        return features["x"] * params["scale"] + config

    assert torch.equal(call_logit_fn(scaled, features, TRAIN, params, 1), X * 3 + 1)
    assert torch.equal(call_logit_fn(lambda features: features["x"], features, TRAIN), X)
    assert call_logit_fn(lambda features, mode: {mode: features["x"]}, features, EVAL)[EVAL] is X
    bound = functools.partial(lambda features, mode, size: features["x"] * size, size=2)
    assert torch.equal(call_logit_fn(bound, features, EVAL), X * 2)


@pytest.mark.parametrize("logits", [3.0, None, {"a": 1.0}, {1: X}, [X]])
def test_what_is_no_logits(logits):
    with pytest.raises(ValueError, match="`logit_fn` must return a tensor, or a dict of tensors by head name"):
        call_logit_fn(lambda features: logits, {"x": X}, TRAIN)


def test_what_is_no_logit_function():
    with pytest.raises(TypeError, match="`logit_fn` must be a function"):
        call_logit_fn("linear", {"x": X}, TRAIN)


WORDS = te.feature_column.categorical_column_with_hash_bucket("word", 5)
SEQUENCE = te.feature_column.sequence_categorical_column_with_hash_bucket("words", 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": 0}, ValueError, "`units` must be whole numbers above 0. Received: 0"),
        ({"units": 2.0}, ValueError, "Received: 2.0"),
        ({"hidden_units": 8}, TypeError, r"`hidden_units` must be a list .* Write: hidden_units=\[8\]"),
        ({"hidden_units": [8, -1]}, ValueError, "`hidden_units` must be whole numbers above 0. Received: -1"),
        ({"feature_columns": []}, ValueError, "`feature_columns` must have one or more columns"),
        ({"feature_columns": None}, TypeError, "`feature_columns` must be a list of feature columns"),
        ({"feature_columns": ["x"]}, TypeError, r"Received: 'x'. For numbers write: numeric_column\('x'\)"),
        ({"feature_columns": [WORDS]}, TypeError, r"DenseFeatures takes numbers, .* Write: embedding_column"),
        ({"activation_fn": "relu"}, TypeError, "`activation_fn` must be a function such as torch.relu"),
        ({"dropout": 1.0}, ValueError, "`dropout` must be a number at least 0 and below 1. Received: 1.0"),
        ({"dropout": "0.5"}, ValueError, "Received: '0.5'"),
        ({"input_layer_partitioner": len}, ValueError, "`input_layer_partitioner` has no counterpart"),
    ],
)
def test_wrong_arguments_of_a_network(arguments, error, message):
    with pytest.raises(error, match=message):
        dnn_logit_fn_builder(**{"units": 1, "hidden_units": [4], "feature_columns": columns(), **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": True}, ValueError, "`units` must be whole numbers above 0. Received: True"),
        ({"feature_columns": {}}, TypeError, "`feature_columns` must be a list of feature columns"),
        ({"feature_columns": [SEQUENCE]}, TypeError, "LinearModel takes columns of single examples"),
        ({"sparse_combiner": "max"}, ValueError, "`sparse_combiner` must be one of .* Received: 'max'"),
    ],
)
def test_wrong_arguments_of_a_linear_model(arguments, error, message):
    with pytest.raises(error, match=message):
        linear_logit_fn_builder(**{"units": 1, "feature_columns": columns(), **arguments})
