"""Handwritten digits with a small convolutional net, from training to prediction.

Trains on scikit-learn's 1,797 real scanned digits (8 x 8 pixels), stops once in the middle as if
Ctrl-C had been pressed, goes on from the checkpoint, evaluates on digits it has not seen, predicts,
and exports the model for serving. TensorBoard shows losses, accuracy and a confusion matrix:

    python recipes/digits.py --model-dir runs/digits
    tensorboard --logdir runs/digits
    torchestimator serve runs/digits/export

For digits of your own, change `load_digits`: an array of images [examples, 1, height, width] with
values in [0, 1], and an array of labels [examples].
"""

import argparse
import os
import shutil
import signal
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import torchestimator as te

CLASSES = 10


def load_digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and held-out digits: images [examples, 1, 8, 8] float32 in [0, 1], labels [examples]."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    train_x, test_x, train_y, test_y = model_selection.train_test_split(
        images, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return (train_x, train_y), (test_x, test_y)


class ConvNet(nn.Module):
    """Two convolutions and two dense layers: [batch, 1, 8, 8] -> [batch, classes]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(width * 16, 64),
            nn.ReLU(),
            nn.Linear(64, CLASSES),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 8, 8] -> [batch, classes]."""
        return self.layers(images)


def model_fn(features: dict, labels: torch.Tensor, mode: str, params: dict) -> te.EstimatorSpec:
    """A classifier: features["image"] is [batch, 1, 8, 8], labels are [batch] class ids."""
    images = features["image"]
    net = te.get_module("net", lambda: ConvNet(images.shape[1], params["width"]))
    logits = net(images)
    predictions = {"class_ids": logits.argmax(-1), "probabilities": logits.softmax(-1)}
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    loss = F.cross_entropy(logits, labels)
    if mode == te.ModeKeys.EVAL:
        metrics = {
            "accuracy": te.metrics.accuracy(labels, predictions["class_ids"]),
            "confusion_matrix": te.metrics.confusion_matrix(labels, predictions["class_ids"], CLASSES),
        }
        return te.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
    te.summary.histogram("logits", logits)
    te.summary.image("digits", images)
    train_op = te.minimize(
        loss,
        lambda parameters: torch.optim.AdamW(parameters, lr=params["learning_rate"]),
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params["max_steps"]),
        clip_norm=1.0,
    )
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op)


class ConfusionMatrixHook(te.SessionRunHook):
    """Shows each evaluation's confusion matrix as a picture in TensorBoard."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def end(self, session: Any) -> None:
        """Draws the counts of the whole evaluation."""
        counts = session.run("metrics/confusion_matrix")
        picture = te.summary.confusion_matrix_image(counts, [str(digit) for digit in range(CLASSES)])
        te.summary.event_writer(self.folder).image("confusion_matrix", picture, session.global_step)


class PressCtrlC(te.SessionRunHook):
    """Interrupts the program at a step, as a person or a cluster's scheduler would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_run(self, run_context: te.SessionRunContext, run_values: te.SessionRunValues) -> None:
        """Sends the signal."""
        if run_context.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    """Runs the recipe and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", default="runs/digits", help="checkpoints and TensorBoard events go here")
    parser.add_argument("--max-steps", type=int, default=900, help="training steps in all (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete the model-dir first")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.model_dir, ignore_errors=True)

    started = time.perf_counter()
    (train_x, train_y), (test_x, test_y) = load_digits()
    train_input = te.inputs.numpy_input_fn({"image": train_x}, train_y, batch_size=64, num_epochs=None, shuffle=True)
    test_input = te.inputs.numpy_input_fn({"image": test_x}, test_y, batch_size=64, num_epochs=1, shuffle=False)

    def make_estimator() -> te.Estimator:
        params = {"width": 24, "learning_rate": 3e-3, "max_steps": arguments.max_steps}
        config = te.RunConfig(model_dir=arguments.model_dir, save_checkpoints_steps=300, random_seed=7)
        return te.Estimator(model_fn, config=config, params=params)

    estimator = make_estimator()
    evaluation = te.EvalSpec(test_input, steps=None, throttle_secs=0, hooks=[ConfusionMatrixHook(estimator.eval_dir())])
    interruption = arguments.max_steps * 5 // 9
    try:
        hooks = [PressCtrlC(interruption)]
        te.train_and_evaluate(estimator, te.TrainSpec(train_input, arguments.max_steps, hooks), evaluation)
    except KeyboardInterrupt:
        print(f"\n--- interrupted at step {interruption}; a new Estimator goes on from there ---\n", flush=True)

    estimator = make_estimator()
    te.train_and_evaluate(estimator, te.TrainSpec(train_input, arguments.max_steps), evaluation)
    results = estimator.evaluate(test_input, hooks=evaluation.hooks)
    predictions = list(estimator.predict(test_input))
    receiver = te.export.build_raw_serving_input_receiver_fn({"image": train_x[:8]})
    export = estimator.export_saved_model(f"{arguments.model_dir}/export", receiver)
    report(estimator, results, predictions, test_y)
    report_export(export, predictions, test_x)
    print(f"time              {time.perf_counter() - started:.1f} s")


def report(estimator: te.Estimator, results: dict, predictions: list, labels: np.ndarray) -> None:
    """Prints what came out."""
    wrong = [index for index, row in enumerate(predictions) if row["class_ids"] != labels[index]]
    sys.stderr.flush()
    print("\n=== Digits ===")
    print(f"held-out digits   {len(predictions)}, of which {len(wrong)} are misread")
    print(f"accuracy          {results['accuracy']:.4f}")
    print(f"loss              {results['loss']:.4f} at step {results['global_step']}")
    for index in wrong[:5]:
        row = predictions[index]
        sure = row["probabilities"][row["class_ids"]]
        print(f"  misread: a {labels[index]} as a {row['class_ids']} ({sure:.0%} sure)")
    print(f"newest checkpoint {estimator.latest_checkpoint()}")
    print(f"TensorBoard       tensorboard --logdir {estimator.model_dir}")


def report_export(export: str, predictions: list, images: np.ndarray) -> None:
    """Runs the exported model without this file's code, and compares it with the Estimator's predictions."""
    expected = np.stack([row["probabilities"] for row in predictions])
    print(f"export            {export}")
    for runtime in ("onnxruntime", "torchscript", "torch_export"):
        answers = te.export.load(export, runtime=runtime).default(image=images)
        difference = np.abs(answers["probabilities"] - expected).max()
        print(f"  {runtime:15} {len(images)} digits, probabilities within {difference:.1e} of predict")
    base = os.path.dirname(export)
    print(f"serve it          .venv/bin/torchestimator serve {base}")


if __name__ == "__main__":
    main()
