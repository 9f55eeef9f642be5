"""An Estimator of a finished module."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import torchestimator as te
from tests.models import config, contents, linear_data
from torchestimator.checkpoint import Checkpoint

X, Y = torch.from_numpy(linear_data()[0]["x"]), torch.from_numpy(linear_data()[1])[:, None]


def make(module, model_dir, loss_fn=nn.functional.mse_loss, **arguments):
    return te.model_to_estimator(
        module, loss_fn, lambda p: torch.optim.SGD(p, lr=0.05), model_dir=model_dir, config=config(), **arguments
    )


def batches(features, labels=Y):
    return te.inputs.numpy_input_fn(features, labels, len(Y), num_epochs=None, shuffle=False)


@pytest.fixture
def net():
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))


def test_training_starts_from_the_modules_weights_and_leaves_it_alone(tmp_path, net):
    before = copy.deepcopy(net.state_dict())
    metrics = {"error": te.metrics.mean_absolute_error}
    estimator = make(net, tmp_path, metrics=metrics)
    net.eval()
    expected = net(X)
    rows = list(estimator.predict(lambda: [X]))
    assert np.array_equal([row["output"] for row in rows], expected.detach())
    estimator.train(batches(X), steps=30)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert not net.training
    start = Checkpoint(tmp_path / "model.ckpt-0")
    assert all(torch.equal(start.read_model(f"model.{name}"), value) for name, value in before.items())
    results = estimator.evaluate(lambda: [(X, Y)])
    assert results["loss"] < nn.functional.mse_loss(expected, Y)
    assert 0 < results["error"] < 2


def test_the_module_may_change_afterwards(tmp_path, net):
    estimator = make(net, tmp_path)
    before = list(estimator.predict(lambda: [X]))
    with torch.no_grad():
        net[0].weight.zero_()
    assert list(make(net, tmp_path / "other").predict(lambda: [X])) != before
    assert list(estimator.predict(lambda: [X])) == before


def test_schedule_clipping_and_accumulation_are_passed_on(tmp_path, net):
    def train(folder, **arguments):
        make(net, folder, **arguments).train(batches(X), steps=4)
        return contents(folder)

    plain = train(tmp_path / "plain")["model/model.0.weight"]
    for number, arguments in enumerate(
        (
            {"scheduler_fn": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)},
            {"clip_norm": 0.01},
            {"accumulate_steps": 2},
        )
    ):
        assert train(tmp_path / str(number), **arguments)["model/model.0.weight"] != plain


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x, scale=None):
        return {"y": self.layer(x) * (1 if scale is None else scale), "extra": None}


class Anything(Named):
    def forward(self, **features):
        return super().forward(**features)


class OfDict(Named):
    def forward(self, features):
        return super().forward(features["x"], features["scale"])


def dict_loss(outputs, labels):
    return nn.functional.mse_loss(outputs["y"], labels)


@pytest.mark.parametrize("kind", [Named, Anything, OfDict])
def test_a_dict_of_features_reaches_the_module(tmp_path, kind):
    features = {"x": X, "scale": torch.full_like(Y, 2.0)}
    module = kind()
    estimator = make(module, tmp_path, dict_loss)
    estimator.train(batches(features), steps=2)
    (batch,) = make(module, tmp_path / "new").predict(lambda: [features], yield_single_examples=False)
    assert batch.keys() == {"y"}
    assert np.allclose(batch["y"], 2 * module.layer(X).detach())


@pytest.mark.parametrize("name", ["x", "whatever"])
def test_a_single_feature_needs_no_name(tmp_path, name):
    module = Named()
    rows = list(make(module, tmp_path).predict(lambda: [{name: X}]))
    assert np.allclose([row["y"] for row in rows], module.layer(X).detach())


class Outputs(nn.Module):
    """Returns what a function makes of a tensor."""

    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x))


@dataclass
class Result:
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda y: y, {"output"}),
        (lambda y: (y, 2 * y), {"output_0", "output_1"}),
        (lambda y: [y, None, 2 * y], {"output_0", "output_2"}),
        (lambda y: {"a": y, "cache": (y, y)}, {"a"}),
    ],
)
def test_names_of_the_predictions(tmp_path, function, names):
    assert next(make(Outputs(function), tmp_path).predict(lambda: [X])).keys() == names


def test_other_outputs_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"`module` must return a tensor, .* Received: Result"):
        next(make(Outputs(Result), tmp_path).predict(lambda: [X]))


class LearnedLoss(nn.Module):
    """A loss with a weight and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))
        self.register_buffer("factor", torch.full((), 2.0))

    def forward(self, outputs, labels):
        return self.factor * nn.functional.mse_loss(outputs * self.temperature, labels)


def test_a_loss_with_weights_is_trained_and_saved(tmp_path, net):
    loss = LearnedLoss()
    estimator = make(net, tmp_path, loss)
    estimator.train(batches(X), steps=3)
    assert estimator.get_variable_value("loss.temperature") != 1
    assert estimator.get_variable_value("loss.factor") == 2
    assert loss.temperature == 1


def test_a_loss_module_without_weights_leaves_no_trace(tmp_path, net):
    estimator = make(net, tmp_path, nn.MSELoss())
    estimator.train(batches(X), steps=1)
    assert not [name for name in estimator.get_variable_names() if name.startswith("loss")]


@pytest.mark.parametrize(
    ("module", "loss_fn", "message"),
    [(lambda x: x, nn.MSELoss(), "`module` must be a torch.nn.Module"), (nn.Linear(2, 1), None, "`loss_fn` must be a")],
)
def test_wrong_arguments_are_refused(tmp_path, module, loss_fn, message):
    with pytest.raises(TypeError, match=message):
        make(module, tmp_path, loss_fn)
