"""Tiny models, inputs and looks into checkpoints that the tests share."""

import numpy as np
import torch
from torch import nn

import torchestimator as te
from torchestimator.checkpoint import Checkpoint

ROWS = 22


def config(**settings):
    """A RunConfig without log lines, summaries and progress bar, and with a seed, except for the settings given."""
    quiet = {"random_seed": 1, "progress_bar": False, "save_summary_steps": None, "log_step_count_steps": None}
    return te.RunConfig(**{**quiet, **settings})


def linear_model_fn(features, labels, mode, params):
    """Regression without a bias on features["x"] [batch, 2]; params: "lr" and, if wanted, "calls", a list."""
    if "calls" in params:
        params["calls"].append(mode)
    x = features["x"]
    weight = te.get_parameter("weight", lambda: torch.zeros(x.shape[1]))
    outputs = x @ weight
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"outputs": outputs, "double": 2 * outputs})
    loss = (outputs - labels).square().mean()
    return te.EstimatorSpec(
        mode,
        loss=loss,
        train_op=te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=params.get("lr", 0.1))),
        eval_metric_ops={"error": te.metrics.mean_absolute_error(labels, outputs)},
    )


def linear_data(rows=ROWS):
    """Features {"x": [rows, 2]} and labels [rows], the same at every call."""
    x = np.random.RandomState(0).standard_normal((rows, 2)).astype(np.float32)
    return {"x": x}, x @ np.float32([1.0, -2.0])


def linear_input(batch_size=4, num_epochs=None, shuffle=False, rows=ROWS, **arguments):
    """An input_fn over `linear_data`."""
    x, y = linear_data(rows)
    return te.inputs.numpy_input_fn(x, y, batch_size, num_epochs=num_epochs, shuffle=shuffle, **arguments)


def linear_estimator(model_dir, params=None, **settings):
    """An Estimator of `linear_model_fn`."""
    return te.Estimator(linear_model_fn, model_dir, config(**settings), {} if params is None else params)


class Restless(nn.Module):
    """A net whose every part is something that a resumed training can get wrong: dropout and running statistics."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 1), nn.Flatten(0)
        )

    def forward(self, x):
        outputs = self.layers(x)
        return outputs + torch.randn_like(outputs) if self.training else outputs


def restless_model_fn(features, labels, mode, params):
    """A model with momenta, a schedule, clipping, and accumulation over params["accumulate"] batches."""
    outputs = te.get_module("net", Restless)(features["x"])
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=outputs)
    loss = nn.functional.mse_loss(outputs, labels)
    train_op = te.minimize(
        loss,
        lambda parameters: torch.optim.AdamW(parameters, lr=0.05),
        lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97),
        clip_norm=0.5,
        accumulate_steps=params["accumulate"],
    )
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op)


def restless_input(batch_size=4, num_epochs=None, rows=ROWS):
    """A shuffled input_fn for `restless_model_fn`."""
    random = np.random.RandomState(3)
    x = random.standard_normal((rows, 3)).astype(np.float32)
    y = random.standard_normal(rows).astype(np.float32)
    return te.inputs.numpy_input_fn({"x": x}, y, batch_size, num_epochs=num_epochs, shuffle=True)


def restless_estimator(model_dir, accumulate=1, model_fn=restless_model_fn, **settings):
    """An Estimator of `restless_model_fn`."""
    return te.Estimator(model_fn, model_dir, config(**settings), {"accumulate": accumulate})


def contents(checkpoint):
    """Everything that a checkpoint holds but the time: tensors by name as dtype, shape and bytes, and the state.

    Args:
        checkpoint: the path of a checkpoint, or a model_dir for its newest.
    """
    opened = Checkpoint(checkpoint)
    tensors = {f"model/{name}": opened.read_model(name) for name in opened.model_shapes}
    tensors |= {f"optimizer/{name}": opened.read_optimizer(name) for name in opened.optimizer_shapes}
    found = {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()}
    return {**found, "state": opened.state}


def steps_saved(model_dir):
    """The steps of the checkpoints in a folder, sorted."""
    return sorted(int(path.name.split("-")[1]) for path in model_dir.glob("model.ckpt-*"))


def five_batches_by_five_calls():
    """An input_fn of the first kind: each call returns one batch, the sixth ends the input."""
    calls = iter(range(5))

    def input_fn():
        next(calls)
        return linear_data(4)

    return input_fn


class AtStep(te.SessionRunHook):
    """Calls a function after a step, before other hooks of the user."""

    def __init__(self, step, function):
        self.step = step
        self.function = function

    def after_run(self, run_context, run_values):
        if run_context.global_step == self.step:
            self.function()


class Notes(te.SessionRunHook):
    """Keeps which of its methods were called."""

    def __init__(self, calls):
        self.calls = calls

    def begin(self):
        self.calls.append("begin")

    def before_run(self, run_context):
        self.calls.append("before_run")

    def end(self, session):
        self.calls.append("end")


class Losses(te.SessionRunHook):
    """Keeps the loss of every step."""

    def __init__(self):
        self.values = []

    def before_run(self, run_context):
        return te.SessionRunArgs("loss")

    def after_run(self, run_context, run_values):
        self.values.append(float(run_values.results))


def messages(caplog):
    """The package's log lines."""
    return [record.getMessage() for record in caplog.records if record.name.split(".")[0] == "torchestimator"]
