"""A model of real digits, trained once, that tests of this folder export."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import torchestimator as te
from tests.models import config

NAMES = [f"digit {number}" for number in range(10)]


class Net(nn.Module):
    """Convolution, batch statistics and dropout: what behaves differently in training."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(16 * width, 10))

    def forward(self, images):
        return self.head(self.layers(images))


def model_fn(features, labels, mode, params):
    logits = te.get_module("net", lambda: Net(params["width"]))(features["image"])
    logits = te.identity(logits, "logits")
    te.summary.scalar("logits/mean", logits.mean())
    class_ids = logits.argmax(-1)
    names = te.index_to_string(class_ids, NAMES)
    predictions = {"class_ids": class_ids, "probabilities": logits.softmax(-1), "name of/class": names}
    if mode == te.ModeKeys.PREDICT:
        predictions |= {"step": torch.zeros_like(class_ids) + te.get_global_step(), "id out": features["row id"]}
        served = te.export.PredictOutput(predictions)
        scores = te.export.ClassificationOutput(predictions["probabilities"])
        outputs = {"serving_default": served, "predict": served, "classify": scores}
        return te.EstimatorSpec(mode, predictions=predictions, export_outputs=outputs)
    loss = nn.functional.cross_entropy(logits, labels)
    return te.EstimatorSpec(
        mode,
        predictions={"probabilities": predictions["probabilities"]},
        loss=loss,
        eval_metric_ops={"accuracy": te.metrics.accuracy(labels, class_ids)},
        train_op=te.minimize(loss, lambda parameters: torch.optim.Adam(parameters, 1e-2)),
    )


@dataclass
class Digits:
    """The trained Estimator and its data."""

    estimator: te.Estimator
    pixels: np.ndarray
    labels: np.ndarray

    @property
    def features(self):
        """What model_fn gets."""
        ids = np.array([f"row {number}" for number in range(len(self.pixels))], object)
        return {"image": self.pixels[:, None].astype("float32") / 16, "row id": ids}

    def receiver(self):
        """Clients send bytes of pixels, under names that are no identifiers."""
        pixels = te.export.placeholder(torch.uint8, [None, 8, 8], "pixels", example=self.pixels[:9])
        ids = te.export.placeholder(str, [None], "ids")
        features = {"image": pixels.unsqueeze(1).float() / 16, "row id": ids}
        return te.export.ServingInputReceiver(features, {"raw pixels/8x8": pixels, "row id": ids})


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """`model_fn` after 60 steps."""
    data = load_digits()
    folder = tmp_path_factory.mktemp("digits") / "the digits"
    estimator = te.Estimator(model_fn, folder, config(), {"width": 6})
    made = Digits(estimator, data.images.astype("uint8"), data.target)
    estimator.train(te.inputs.numpy_input_fn(made.features, made.labels, 64, num_epochs=None, shuffle=True), steps=60)
    return made
