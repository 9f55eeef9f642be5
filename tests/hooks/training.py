"""Small trainings for the tests of hooks."""

import numpy as np
import torch

import torchestimator as te

BATCH = 4


def linear_model_fn(features, labels, mode):
    """A linear model with everything that a hook can ask for."""
    net = te.get_module("net", lambda: torch.nn.Linear(2, 1))
    outputs = te.identity(net(features["x"])[:, 0], "outputs")
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"outputs": outputs})
    loss = torch.nn.functional.mse_loss(outputs, labels)
    return te.EstimatorSpec(
        mode,
        predictions={"outputs": outputs},
        loss=loss,
        train_op=te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.05)),
        eval_metric_ops={"error": te.metrics.mean_absolute_error(labels, outputs)},
    )


def data(num_rows=BATCH):
    """Features [rows, 2] and labels [rows]; a batch that never changes has the same rows."""
    x = np.linspace(-1.0, 1.0, 2 * num_rows, dtype=np.float32).reshape(num_rows, 2)
    return {"x": x}, x.sum(1) + 1.0


def input_fn(num_batches=None):
    """An input of that many batches; None: one batch without end."""
    x, y = data(BATCH * (num_batches or 1))
    return te.inputs.numpy_input_fn(x, y, BATCH, num_epochs=1 if num_batches else None, shuffle=False)


def nan_from(step):
    """An input without end whose labels are NaN from that step on, counted from 1."""

    def batches():
        (x, y), taken = data(), 0
        while True:
            taken += 1
            yield x, y if taken < step else np.full_like(y, np.nan)

    return batches


def make_estimator(model_dir, model_fn=linear_model_fn, **settings):
    """An Estimator that saves nothing but what the settings ask for."""
    settings = {"save_checkpoints_steps": None, "save_summary_steps": None, "log_step_count_steps": None, **settings}
    return te.Estimator(model_fn, model_dir, te.RunConfig(random_seed=1, progress_bar=False, **settings))


class Calls(te.SessionRunHook):
    """Notes each call as (name, method, global step), in a list that several may share."""

    def __init__(self, name="hook", calls=None):
        self.name = name
        self.calls = [] if calls is None else calls

    def begin(self):
        self.calls.append((self.name, "begin"))

    def after_create_session(self, session, coord):
        assert coord is None
        self.calls.append((self.name, "after_create_session", session.global_step))

    def before_run(self, run_context):
        self.calls.append((self.name, "before_run", run_context.global_step))

    def after_run(self, run_context, run_values):
        assert run_values.results is None
        self.calls.append((self.name, "after_run", run_context.global_step))

    def end(self, session):
        self.calls.append((self.name, "end", session.global_step))


class Fetch(te.SessionRunHook):
    """Keeps what each step gives for some fetches."""

    def __init__(self, fetches, feed_dict=None):
        self.args = te.SessionRunArgs(fetches, feed_dict)
        self.results = []

    def before_run(self, run_context):
        return self.args

    def after_run(self, run_context, run_values):
        self.results.append(run_values.results)


def lines(caplog):
    """The package's log lines, without the one that says how steps run."""
    found = [record.getMessage() for record in caplog.records if record.name.split(".")[0] == "torchestimator"]
    return [line for line in found if not line.startswith("compile=")]
