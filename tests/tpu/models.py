"""A model_fn and an input_fn for TPUEstimator that the tests share."""

import numpy as np
import torch
from torch import nn

import torchestimator as te
from torchestimator import tpu

ROWS = 40


def config(model_dir, **settings):
    """A tpu.RunConfig without log lines, summaries and progress bar, and with a seed."""
    quiet = {"random_seed": 1, "progress_bar": False, "save_summary_steps": None, "log_step_count_steps": None}
    return tpu.RunConfig(**{"model_dir": str(model_dir), **quiet, **settings})


def data():
    """Features {"x": [40, 4]} and labels [40] of three classes."""
    random = np.random.RandomState(0)
    x = random.standard_normal((ROWS, 4)).astype(np.float32)
    return {"x": x}, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)


def metric_fn(labels, class_ids):
    """Metrics of the tensors that TPUEstimatorSpec hands over."""
    return {"accuracy": te.metrics.accuracy(labels, class_ids)}


def model_fn(features, labels, mode, params):
    """A classifier with one hidden layer; params: "seen", a list of what params held, if wanted."""
    if "seen" in params:
        params["seen"].append((mode, {key: params[key] for key in ("batch_size", "use_tpu") if key in params}))
    hidden = torch.tanh(te.get_module("hidden", lambda: nn.Linear(4, 8))(features["x"]))
    logits = te.get_module("logits", lambda: nn.Linear(8, 3))(hidden)
    class_ids = logits.argmax(-1)
    if mode == te.ModeKeys.PREDICT:
        return tpu.TPUEstimatorSpec(mode, predictions={"class_ids": class_ids, "probabilities": logits.softmax(-1)})
    loss = nn.functional.cross_entropy(logits, labels)
    if mode == te.ModeKeys.EVAL:
        return tpu.TPUEstimatorSpec(mode, loss=loss, eval_metrics=(metric_fn, [labels, class_ids]))
    optimizer_fn = tpu.CrossShardOptimizer(lambda parameters: torch.optim.Adam(parameters, lr=0.05))
    return tpu.TPUEstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, optimizer_fn))


def endless(params, mode):
    """Batches of params["batch_size"], without end in training."""
    x, y = data()
    num_epochs = None if mode == te.ModeKeys.TRAIN else 1
    return te.inputs.numpy_input_fn(x, y, params["batch_size"], num_epochs=num_epochs, shuffle=False)()


class Losses(te.SessionRunHook):
    """Keeps the loss each time that hooks are called."""

    def __init__(self):
        self.values = []

    def before_run(self, run_context):
        return te.SessionRunArgs("loss")

    def after_run(self, run_context, run_values):
        self.values.append(float(run_values.results))
