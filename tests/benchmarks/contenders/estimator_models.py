"""torchestimator on each model, eager and captured, with the hooks and cadences that a default RunConfig brings."""

import tempfile
from typing import Any, Literal

import torch
import torch.nn.functional as F

import torchestimator as te
from tests.benchmarks.contenders.estimator import Ticks
from tests.benchmarks.contenders.models import LEARNING_RATE, Model, tasks
from tests.benchmarks.contenders.requests import PeakMemory, Requests, Stopwatch, main


def train(model: Model, requests: Requests) -> None:
    """Eager training steps."""
    _train(model, "off", Stopwatch(requests))


def train_captured(model: Model, requests: Requests) -> None:
    """Captured training steps."""
    _train(model, "step", Stopwatch(requests))


def remember(model: Model, requests: Requests) -> None:
    """The peak of the process's memory during eager training steps."""
    _train(model, "off", PeakMemory(requests))


def remember_captured(model: Model, requests: Requests) -> None:
    """The peak of the process's memory during captured training steps."""
    _train(model, "step", PeakMemory(requests))


def _train(model: Model, how: Literal["off", "step"], stopwatch: Stopwatch) -> None:
    def model_fn(features: dict[str, torch.Tensor], labels: torch.Tensor, mode: str) -> te.EstimatorSpec:
        loss = F.cross_entropy(te.get_module("net", model.network)(features["x"]), labels)
        train_op = te.minimize(loss, lambda parameters: torch.optim.Adam(parameters, lr=LEARNING_RATE))
        return te.EstimatorSpec(mode, loss=loss, train_op=train_op)

    x, y = model.arrays()
    input_fn: Any = te.inputs.numpy_input_fn({"x": x}, y, batch_size=model.batch_size, num_epochs=None, shuffle=True)
    config = te.RunConfig(model_dir=tempfile.mkdtemp(prefix="torchestimator-benchmark-"), compile=how)
    te.Estimator(model_fn, config=config).train(input_fn, hooks=[Ticks(stopwatch)])


if __name__ == "__main__":
    main(
        tasks(train=train, train_captured=train_captured, remember=remember, remember_captured=remember_captured),
        torch.set_num_threads,
    )
