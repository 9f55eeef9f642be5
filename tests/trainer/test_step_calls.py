"""What a training step costs in calls of Python functions of this package."""

import sys
from collections import Counter
from pathlib import Path

import torch

import torchestimator as te
from tests.hooks.training import data

PACKAGE = str(Path(te.__file__).parent)
STEPS = 100

MEASURED = 70.9
"""Calls per step with all default hooks at their default cadence, one line and one summary in 100 steps included."""


class CountsCalls(te.SessionRunHook):
    """Counts the calls of the 100 steps after the fifth, by function."""

    def __init__(self):
        self.calls = Counter()
        self.step = 0

    def after_run(self, run_context, run_values):
        self.step += 1
        if self.step == 5:
            sys.setprofile(self._count)
        elif self.step == 5 + STEPS:
            sys.setprofile(None)

    def _count(self, frame, event, arg):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            self.calls[f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_qualname}"] += 1


def model_fn(features, labels, mode):
    net = te.get_module("net", lambda: torch.nn.Linear(2, 1))
    loss = torch.nn.functional.mse_loss(net(features["x"])[:, 0], labels)
    train_op = te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op)


def test_the_calls_of_a_step_stay_few(tmp_path):
    x, y = data(4096)
    input_fn = te.inputs.numpy_input_fn(x, y, batch_size=16, num_epochs=None, shuffle=True)
    hook = CountsCalls()
    estimator = te.Estimator(model_fn, tmp_path, te.RunConfig(random_seed=1, progress_bar=False))
    estimator.train(input_fn, hooks=[hook], steps=STEPS + 10)
    per_step = sum(hook.calls.values()) / STEPS
    listing = "\n".join(f"{count / STEPS:6.2f} {name}" for name, count in hook.calls.most_common(60))
    assert per_step <= 1.1 * MEASURED, f"{per_step} calls per step, measured before: {MEASURED}\n{listing}"
    # Were the package not found, nothing would have been counted.
    assert per_step > 20
