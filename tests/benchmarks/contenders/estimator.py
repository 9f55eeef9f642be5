"""torchestimator, with the hooks and cadences that a default RunConfig brings."""

import collections
import itertools
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F

import torchestimator as te
from tests.benchmarks.contenders import problem
from tests.benchmarks.contenders.bare import network
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main

_PACKAGE = str(Path(te.__file__).parent)


def model_fn(features: dict[str, torch.Tensor], labels: torch.Tensor, mode: str) -> te.EstimatorSpec:
    """A classifier: features["x"] is [batch, 20], labels are [batch] class ids."""
    logits = te.get_module("net", network)(features["x"])
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"class_ids": logits.argmax(-1), "probabilities": logits.softmax(-1)})
    loss = F.cross_entropy(logits, labels)
    if mode == te.ModeKeys.EVAL:
        return te.EstimatorSpec(
            mode, loss=loss, eval_metric_ops={"accuracy": te.metrics.accuracy(labels, logits.argmax(-1))}
        )
    train_op = te.minimize(loss, lambda parameters: torch.optim.Adam(parameters, lr=problem.LEARNING_RATE))
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op)


class Ticks(te.SessionRunHook):
    """Tells a stopwatch of each step."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def after_run(self, run_context: te.SessionRunContext, run_values: te.SessionRunValues) -> None:
        """Stops when the harness has seen enough."""
        if not self._stopwatch.tick():
            run_context.request_stop()


class CallCounter(Stopwatch):
    """Counts calls of Python functions of the package instead of microseconds."""

    def start(self) -> None:
        """Begins to count."""
        self._calls = 0
        sys.setprofile(self._note)

    def stop(self, count: int) -> float:
        """Returns the number of calls in one step."""
        sys.setprofile(None)
        return self._calls / count

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            self._calls += 1


def train(requests: Requests) -> None:
    """Training steps."""
    _estimator().train(_input_fn(shuffle=True), hooks=[Ticks(Stopwatch(requests))])


def count_calls(requests: Requests) -> None:
    """Calls per training step of Python functions of the package, instead of microseconds."""
    _estimator().train(_input_fn(shuffle=True), hooks=[Ticks(CallCounter(requests))])


def evaluate(requests: Requests) -> None:
    """Batches of an evaluation: mean loss and accuracy."""
    _trained().evaluate(_input_fn(shuffle=False), hooks=[Ticks(Stopwatch(requests))])


def predict(requests: Requests) -> None:
    """Rows of one `predict` that does not end."""
    predictions = _trained().predict(_input_fn(shuffle=False))
    next(predictions)
    requests.serve(lambda rows: _drain(itertools.islice(predictions, rows)))


def predict_whole(requests: Requests) -> None:
    """Rows of one `predict` of all the data, from its call to its end."""
    x, _ = problem.arrays()
    input_fn = te.inputs.numpy_input_fn({"x": x}, batch_size=problem.BATCH, shuffle=False)
    estimator = _trained()
    requests.serve(lambda rows: _drain(itertools.islice(estimator.predict(input_fn), rows)))


def predict_one_row(requests: Requests) -> None:
    """Calls of `predict` with one row."""
    x, _ = problem.arrays()
    input_fn = te.inputs.numpy_input_fn({"x": x[:1]}, shuffle=False)
    estimator = _trained()
    requests.serve(lambda calls: [list(estimator.predict(input_fn)) for _ in range(calls)])


def call_predictor(requests: Requests) -> None:
    """Calls of a predictor with one row."""
    x, _ = problem.arrays()
    row = {"x": x[:1]}
    predictor = _trained().predictor()
    requests.serve(lambda calls: [predictor(row) for _ in range(calls)])


def _estimator() -> te.Estimator:
    return te.Estimator(model_fn, model_dir=tempfile.mkdtemp(prefix="torchestimator-benchmark-"))


def _trained() -> te.Estimator:
    """An estimator that reads its model from a checkpoint, as a program does that only predicts."""
    estimator = _estimator()
    estimator.train(_input_fn(shuffle=True), steps=10)
    return te.Estimator(model_fn, model_dir=estimator.model_dir)


def _drain(predictions: Iterable[object]) -> None:
    collections.deque(predictions, maxlen=0)


def _input_fn(shuffle: bool) -> Any:
    x, y = problem.arrays()
    return te.inputs.numpy_input_fn({"x": x}, y, batch_size=problem.BATCH, num_epochs=None, shuffle=shuffle)


if __name__ == "__main__":
    main(
        {
            "train": train,
            "count_calls": count_calls,
            "evaluate": evaluate,
            "predict": predict,
            "predict_whole": predict_whole,
            "predict_one_row": predict_one_row,
            "call_predictor": call_predictor,
        },
        torch.set_num_threads,
    )
