"""Models whose training is compared between one process and several."""

import torch
import torch.nn.functional as F
from torch import nn

import torchestimator as te

CLASSES = 3
ROWS = 4096
"""Rows of the embedding table; times 512 columns they are more than a million elements, whose gradient is sparse."""


def spec_of(mode, logits, labels, optimizer, **minimize):
    predictions = {"probabilities": logits.softmax(-1), "class_ids": logits.argmax(-1)}
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    loss = F.cross_entropy(logits, labels)
    if mode == te.ModeKeys.EVAL:
        metrics = {
            "accuracy": te.metrics.accuracy(labels, predictions["class_ids"]),
            "auc": te.metrics.auc(labels == 0, predictions["probabilities"][:, 0]),
        }
        return te.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
    return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, optimizer, **minimize))


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def body(x):
    hidden = te.get_module("hidden", lambda: nn.Linear(x.shape[1], 16))(x).tanh()
    return te.get_module("out", lambda: nn.Linear(16, CLASSES))(hidden)


def plain(features, labels, mode, params):
    return spec_of(mode, body(features["x"]), labels, adam, clip_norm=0.3, accumulate_steps=params["accumulate"])


def scheduled(features, labels, mode):
    return spec_of(
        mode,
        body(features["x"]),
        labels,
        lambda parameters: torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=1e-3),
        scheduler_fn=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.5),
    )


def restless(features, labels, mode):
    """Dropout and running statistics, which make a resumed training differ unless everything is restored."""
    x = te.get_module("norm", lambda: nn.BatchNorm1d(features["x"].shape[1]))(features["x"])
    x = F.dropout(x, 0.2, training=mode == te.ModeKeys.TRAIN)
    return spec_of(mode, body(x), labels, adam)


def sparse(features, labels, mode):
    table = te.get_module("table", lambda: nn.Embedding(ROWS, 512, sparse=True))
    x = table((features["x"][:, 0].abs() * 1000).long() % ROWS)
    return spec_of(mode, body(x), labels, lambda parameters: te.optim.Adagrad(parameters, learning_rate=0.1))


def branching(features, labels, mode):
    """In each step only one of two layers gets a gradient, and a third never."""
    te.get_module("never", lambda: nn.Linear(2, 2))
    first = te.get_module("first", lambda: nn.Linear(features["x"].shape[1], CLASSES))
    second = te.get_module("second", lambda: nn.Linear(features["x"].shape[1], CLASSES))
    step = int(te.get_global_step())
    logits = (first if step % 2 == 0 or mode != te.ModeKeys.TRAIN else second)(features["x"])
    return spec_of(mode, logits, labels, adam)


def adversarial(features, labels, mode):
    """Two losses with an optimizer each, of which one accumulates."""
    x = features["x"]
    generator = te.get_module("generator", lambda: nn.Linear(x.shape[1], x.shape[1]))
    judge = te.get_module("judge", lambda: nn.Linear(x.shape[1], CLASSES))
    logits = judge(generator(x))
    spec = spec_of(mode, logits, labels, adam)
    if mode != te.ModeKeys.TRAIN:
        return spec
    judged = F.cross_entropy(judge(generator(x).detach()), labels)
    return spec._replace(
        train_op=te.group(
            te.minimize(judged, adam, var_list=judge, clip_norm=1.0),
            te.minimize(-0.1 * spec.loss, adam, var_list=generator, accumulate_steps=2),
        )
    )


def weighted(features, labels, mode):
    """A mean over some of the examples only, which says so."""
    logits = body(features["x"])
    spec = spec_of(mode, logits, labels, adam)
    if mode != te.ModeKeys.TRAIN:
        return spec
    counts = (labels > 0).float()
    loss = (F.cross_entropy(logits, labels, reduction="none") * counts).sum() / counts.sum().clamp(min=1)
    return spec._replace(loss=loss, train_op=te.minimize(loss, adam, loss_weight=counts.sum()))


MODELS = {model.__name__: model for model in (plain, scheduled, restless, sparse, branching, adversarial, weighted)}
