"""Small models, built and ready to be exported, that the tests of this folder share."""

import numpy as np
import torch
from torch import nn

import torchestimator as te
from torchestimator.export.plan import ExportedMode, plan_signatures
from torchestimator.export.serving_inputs import open_receiver
from torchestimator.export.serving_module import serving_module
from torchestimator.model.module import ModelFnModule

ROWS = np.float32([[1, 2, 3, 4], [0.5, -1, 0, 2], [3, 3, 3, 3]])
placeholder = te.export.placeholder


def raw(**examples):
    """A receiver of the features as they are; without any, of "x" [batch, 4]."""
    return te.export.build_raw_serving_input_receiver_fn(examples or {"x": ROWS})


def linear(features, labels, mode):
    """Three scores of features["x"] [batch, 4], in all modes."""
    scores = te.get_module("net", lambda: nn.Linear(4, 3))(features["x"])
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"scores": scores})
    loss = nn.functional.cross_entropy(scores, labels)
    train_op = te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    return te.EstimatorSpec(mode, predictions={"scores": scores}, loss=loss, train_op=train_op)


def predicting(function):
    """A model_fn that gives what a function makes of the features and of scores [batch, 3] of features["x"]."""

    def model_fn(features, mode):
        scores = te.get_module("net", lambda: nn.Linear(4, 3))(features["x"])
        made = function(features, scores)
        if isinstance(next(iter(made.values())), te.export.ExportOutput):
            return te.EstimatorSpec(mode, predictions={"scores": scores}, export_outputs=made)
        return te.EstimatorSpec(mode, predictions=made)

    return model_fn


def exported_mode(model_fn=linear, receiver_fn=None, mode=te.ModeKeys.PREDICT):
    """A model built for what a receiver function declares."""
    inputs = open_receiver(receiver_fn or raw())
    main = inputs[""]
    features, labels = main.features_and_labels(main.tensors(main.rows(2)))
    module = ModelFnModule(model_fn, seed=1)
    module.build(features, labels, mode)
    module.set_mode(mode)
    if mode != te.ModeKeys.TRAIN:
        module.requires_grad_(False)
    return ExportedMode(module, inputs)


def serving(model_fn=linear, receiver_fn=None, **methods):
    """A serving module whose `forward` is "serving_default", and its inputs."""
    mode = exported_mode(model_fn, receiver_fn)
    inputs = mode.inputs[""]
    return serving_module(mode.model, inputs, methods or {"forward": "serving_default"}), inputs


def plans(model_fn=linear, receiver_fn=None, mode=te.ModeKeys.PREDICT):
    """The signatures of a model by name."""
    return {plan.name: plan for plan in plan_signatures(exported_mode(model_fn, receiver_fn, mode))}
