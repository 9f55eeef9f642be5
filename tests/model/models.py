"""Small models for the tests of this folder."""

import torch
import torch.nn.functional as F
from torch import nn

import torchestimator as te


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def batch(rows=16, seed=0):
    """Features {"x": [rows, 4]} and labels [rows] of 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(rows, 4, generator=generator)}, torch.randint(0, 3, (rows,), generator=generator)


def build(model_fn, mode="train", features=None, labels=None, **arguments):
    """The module of a model_fn, built from a batch; in PREDICT without labels."""
    if features is None:
        features, labels = batch()
    module = te.ModelFnModule(model_fn, seed=arguments.pop("seed", 7), **arguments)
    module.build(features, None if mode == te.ModeKeys.PREDICT else labels, mode)
    return module


def spec_of(outputs, labels, mode):
    """A classification spec: what every mode needs."""
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"probabilities": outputs.softmax(-1)})
    loss = F.cross_entropy(outputs, labels)
    return te.EstimatorSpec(
        mode,
        loss=loss,
        train_op=te.minimize(loss, sgd),
        eval_metric_ops={"accuracy": te.metrics.accuracy(labels, outputs.argmax(-1))},
    )


def of_layers(make):
    """A model_fn around the network that `make` gives."""

    def model_fn(features, labels, mode):
        return spec_of(te.get_module("net", make)(features["x"]), labels, mode)

    return model_fn


def rich_model_fn(features, labels, mode, params):
    """Scopes, a bare parameter, BatchNorm, a named tensor and the global step."""
    with te.name_scope("tower"):
        net = te.get_module("net", lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()))
        hidden = te.identity(net(features["x"]), "hidden")
    weight = te.get_parameter("weight", lambda: torch.randn(8, 3))
    outputs = hidden @ weight * (1 + 0.1 * te.get_global_step().float()) * params["scale"]
    return spec_of(outputs, labels, mode)
