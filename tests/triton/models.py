"""Estimators that are exported for the server: small pictures, and strings in and out."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import torchestimator as te
from torchestimator.inputs.fingerprint import fingerprint64

COLORS = ("red", "green", "blue")
COLOR_NUMBERS = torch.from_numpy(fingerprint64(COLORS))
PRICES = ("cheap", "fair", "dear")


def digits(rows, seed=0):
    """Pictures like those of the digits recipe, and labels."""
    generator = np.random.default_rng(seed)
    images = generator.random((rows, 1, 8, 8), dtype=np.float32)
    return {"image": images}, generator.integers(0, 10, rows)


def digits_fn(features, labels, mode):
    """A convolution, and predictions of which one has rank 1."""
    net = te.get_module(
        "net", lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))
    )
    logits = net(features["image"])
    predictions = {"class_ids": logits.argmax(-1), "probabilities": logits.softmax(-1)}
    if mode == te.ModeKeys.PREDICT:
        outputs = {
            "serving_default": te.export.PredictOutput(predictions),
            "hidden/scores": te.export.ClassificationOutput(scores=logits),
        }
        return te.EstimatorSpec(mode, predictions=predictions, export_outputs=outputs)
    loss = F.cross_entropy(logits, labels)
    return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.Adam(p, lr=1e-2)))


def paint(rows, seed=0):
    """Colors and sizes, and labels; some colors are not in the vocabulary."""
    generator = np.random.default_rng(seed)
    colors = generator.choice([*COLORS, "", "ultramarin, gr\u00fcn"], (rows, 1)).astype(object)
    return {"color": colors, "size": generator.random((rows, 2), dtype=np.float32)}, generator.integers(0, 3, rows)


def paint_fn(features, labels, mode):
    """A vocabulary of strings as a feature, names of classes and the feature itself as predictions."""
    one_hot = (features["color"] == COLOR_NUMBERS).float()
    net = te.get_module("net", lambda: nn.Linear(len(COLORS) + 2, len(PRICES)))
    logits = net(torch.cat([one_hot, features["size"]], 1))
    predictions = {
        "probabilities": logits.softmax(-1),
        "price": te.index_to_string(logits.argmax(-1, keepdim=True), PRICES),
        "brush": features["color"],
    }
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    loss = F.cross_entropy(logits, labels)
    return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.Adam(p, lr=1e-2)))


def exported(model_fn, rows_fn, folder, batch_size=None, formats=("onnx", "torchscript", "triton")):
    """Trains for a moment and exports; returns the estimator and the path of the export."""
    estimator = te.Estimator(model_fn, model_dir=folder)
    estimator.train(lambda: [rows_fn(16, seed) for seed in range(3)])
    features, _ = rows_fn(5)
    receiver_fn = te.export.build_raw_serving_input_receiver_fn(features, batch_size)
    return estimator, estimator.export_saved_model(folder / "exports", receiver_fn, formats=formats)
