"""Estimators on XLA devices and on the CPU that the tests compare."""

import numpy as np
import torch
from torch import nn

import torchestimator as te
from tests.tpu.models import Losses, data

BATCH = 8


def model_fn(features, labels, mode):
    """A classifier with an embedding and a hidden layer, smooth, since kinks would let rounding errors grow."""
    ids = (features["x"][:, 2:] > 0).long()
    embedded = te.get_module("embedding", lambda: nn.Embedding(2, 3))(ids).flatten(1)
    inputs = torch.cat([features["x"], embedded], dim=1)
    hidden = torch.tanh(te.get_module("hidden", lambda: nn.Linear(10, 8))(inputs))
    logits = te.get_module("logits", lambda: nn.Linear(8, 3))(hidden)
    predictions = {"class_ids": logits.argmax(-1), "probabilities": logits.softmax(-1)}
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    loss = nn.functional.cross_entropy(logits, labels)
    return te.EstimatorSpec(
        mode,
        loss=loss,
        predictions=predictions,
        train_op=te.minimize(
            loss,
            lambda parameters: torch.optim.Adam(parameters, lr=0.02),
            lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99),
            clip_norm=1.0,
        ),
        eval_metric_ops={
            "accuracy": te.metrics.accuracy(labels, predictions["class_ids"]),
            "auc": te.metrics.auc(labels > 0, 1 - predictions["probabilities"][:, 0]),
        },
    )


def estimator_on(strategy, model_dir, function=model_fn, **settings):
    """An Estimator without log lines, summaries and progress bar."""
    quiet = {"random_seed": 1, "progress_bar": False, "save_summary_steps": None, "log_step_count_steps": None}
    return te.Estimator(function, model_dir, te.RunConfig(strategy=strategy, **{**quiet, **settings}))


def input_fn(mode):
    """Endless shuffled batches in training, one pass with a short last batch otherwise."""
    x, y = data()
    if mode == te.ModeKeys.TRAIN:
        return te.inputs.numpy_input_fn(x, y, BATCH, num_epochs=None, shuffle=True, seed=3)()
    return te.inputs.numpy_input_fn(x, y, BATCH - 1, num_epochs=1, shuffle=False)()


def losses_of(estimator, steps):
    """The loss of each of the next steps."""
    hook = Losses()
    estimator.train(input_fn, hooks=[hook], steps=steps)
    return np.array(hook.values)
