"""This library's side of the comparison: starts from TensorFlow's checkpoints and takes the same batches."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import torchestimator as te
from tests.parity import problem
from torchestimator.checkpoint.tensorflow import convert_checkpoint

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "tensorflow.json").read_text())
ESTIMATORS = problem.estimators(te, te.feature_column)


class Losses(te.SessionRunHook):
    """Collects the loss of each step."""

    def __init__(self):
        self.values = []

    def before_run(self, run_context):
        return te.SessionRunArgs("loss")

    def after_run(self, run_context, run_values):
        self.values.append(float(run_values.results))


@dataclass(frozen=True)
class Comparison:
    """One estimator here and there."""

    losses: list[float]
    metrics: dict[str, float]
    predictions: np.ndarray
    loss_difference: float
    """The largest relative difference of a step's loss."""
    metric_difference: float
    """The largest difference of a metric, relative where it is above 1."""


def compare(name, folder, compile_setting="off"):
    """Trains, evaluates and predicts as TensorFlow did."""
    make, label = ESTIMATORS[name]
    recorded = RECORDED[name]
    features, labels = problem.data()
    checkpoint = str(HERE / "checkpoints" / recorded["checkpoint"])
    config = te.RunConfig(progress_bar=False, compile=compile_setting, model_dir=str(folder))
    estimator = make(None, config)
    estimator = te.Estimator(estimator.model_fn, config=config, warm_start_from=checkpoint)

    def input_fn(batch, epochs):
        return te.inputs.numpy_input_fn(features, labels[label], batch, epochs, shuffle=False)

    losses = Losses()
    estimator.train(input_fn(problem.BATCH, None), [losses], steps=problem.STEPS)
    metrics = {key: float(value) for key, value in estimator.evaluate(input_fn(problem.EVALUATION_BATCH, 1)).items()}
    (key,) = recorded["predictions"]
    rows = estimator.predict(input_fn(problem.EVALUATION_BATCH, 1), [key])
    predictions = np.array([next(rows)[key] for _ in range(5)])
    pairs = zip(losses.values, recorded["losses"], strict=True)
    difference = max(abs(own - theirs) / abs(theirs) for own, theirs in pairs)
    off = max(abs(metrics[key] - value) / max(1, abs(value)) for key, value in recorded["metrics"].items())
    return Comparison(losses.values, metrics, predictions, difference, off)


def continued(name, folder):
    """The losses of the second half, from TensorFlow's checkpoint of the middle with its slots."""
    make, label = ESTIMATORS[name]
    features, labels = problem.data()
    checkpoint = HERE / "checkpoints" / RECORDED[name]["checkpoint"].replace("ckpt-0", f"ckpt-{problem.HALF}")
    convert_checkpoint(checkpoint, folder)

    def later(rows):
        return np.roll(rows, -problem.HALF * problem.BATCH, axis=0)

    features = {key: later(rows) for key, rows in features.items()}
    input_fn = te.inputs.numpy_input_fn(features, later(labels[label]), problem.BATCH, None, shuffle=False)
    losses = Losses()
    make(str(folder), te.RunConfig(progress_bar=False)).train(input_fn, [losses], max_steps=problem.STEPS)
    return losses.values


def table(comparisons):
    """Markdown with a row per estimator."""
    lines = [
        "| estimator | loss of steps 1 and 50 | here | largest relative difference of 50 losses | of a metric |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, found in comparisons.items():
        there = RECORDED[name]["losses"]
        lines.append(
            f"| {name} | {there[0]:.6f}, {there[-1]:.6f} | {found.losses[0]:.6f}, {found.losses[-1]:.6f} | "
            f"{found.loss_difference:.1e} | {found.metric_difference:.1e} |"
        )
    return "\n".join(lines)
