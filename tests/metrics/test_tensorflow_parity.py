"""Every metric against TensorFlow 2.15 over three batches, unweighted and weighted.

`EXPECTED` holds what tf.compat.v1.metrics gave for `INPUTS`, or tf.keras.metrics where the two differ and the default
here is Keras's; the computation was in float32, hence the tolerance.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from torchestimator import metrics
from torchestimator.metrics import Metric

# Three batches: [0, 10), [10, 19), [19, 24).
CUTS = ((0, 10), (10, 19), (19, 24))

INPUTS: dict[str, Any] = {
    "binary": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0],
    "prob": [
        0.4412,
        0.5838,
        0.6284,
        0.0,
        0.9966,
        0.8445,
        0.7166,
        0.7417,
        0.1615,
        0.1202,
        0.4594,
        1.0,
        0.2768,
        0.3862,
        0.3497,
        0.9379,
        0.4719,
        0.5,
        0.3727,
        0.1856,
        0.2588,
        0.1443,
        0.519,
        0.1505,
    ],
    "weights": [
        0.74,
        0.01,
        1.66,
        0.31,
        0.54,
        0.0,
        1.02,
        1.69,
        1.28,
        1.48,
        0.18,
        1.08,
        1.02,
        1.74,
        0.72,
        1.2,
        0.12,
        0.78,
        0.65,
        0.3,
        1.63,
        0.76,
        1.96,
        1.18,
    ],
    "cls": [1, 2, 1, 2, 2, 2, 0, 0, 2, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 2, 0, 1],
    "pcl": [0, 2, 2, 2, 2, 2, 3, 3, 2, 1, 3, 0, 0, 1, 3, 0, 2, 3, 3, 0, 0, 2, 0, 1],
    "real": [
        -6.106,
        -0.913,
        0.0,
        0.492,
        6.734,
        -2.495,
        -1.872,
        0.616,
        1.479,
        -0.529,
        -0.618,
        2.107,
        1.56,
        -3.101,
        -0.238,
        0.106,
        -3.163,
        0.78,
        -2.574,
        2.916,
        0.578,
        0.268,
        -1.773,
        -0.356,
    ],
    "est": [
        -8.104,
        -2.044,
        -2.337,
        -1.637,
        7.581,
        -4.241,
        -1.115,
        -0.229,
        2.258,
        -0.398,
        -2.155,
        3.356,
        3.002,
        -3.167,
        -0.512,
        -0.054,
        -4.138,
        1.879,
        -3.117,
        2.865,
        -0.215,
        -0.358,
        -3.051,
        0.901,
    ],
    "scores": [
        [0.52, 0.951, 0.251, 0.806, 0.676],
        [0.717, 0.63, 0.972, 0.333, 0.398],
        [0.203, 0.051, 0.213, 0.915, 0.84],
        [0.112, 0.604, 0.479, 0.595, 0.659],
        [0.5, 0.5, 0.5, 0.5, 0.5],
        [0.184, 0.062, 0.412, 0.764, 0.815],
        [0.73, 0.113, 0.913, 0.802, 0.878],
        [0.523, 0.916, 0.047, 0.03, 0.02],
        [0.253, 0.249, 0.188, 0.567, 0.039],
        [0.1, 0.7, 0.7, 0.2, 0.7],
        [0.938, 0.538, 0.812, 0.658, 0.611],
        [0.191, 0.574, 0.04, 0.802, 0.96],
        [0.854, 0.051, 0.339, 0.318, 0.113],
        [0.627, 0.797, 0.314, 0.863, 0.797],
        [0.129, 0.767, 0.883, 0.197, 0.574],
        [0.639, 0.609, 0.096, 0.661, 0.632],
        [0.824, 0.804, 0.327, 0.722, 0.867],
        [0.893, 0.162, 0.027, 0.651, 0.215],
        [0.564, 0.945, 0.379, 0.253, 0.457],
        [0.657, 0.101, 0.381, 0.134, 0.662],
        [0.831, 0.377, 0.372, 0.54, 0.215],
        [0.247, 0.33, 0.457, 0.082, 0.753],
        [0.579, 0.3, 0.078, 0.763, 0.131],
        [0.133, 0.131, 0.081, 0.906, 0.269],
    ],
    "multi": [
        [4, 0],
        [4, 3],
        [4, 2],
        [2, 0],
        [4, 3],
        [3, 1],
        [0, 3],
        [0, 3],
        [1, 7],
        [1, 4],
        [0, 1],
        [3, 4],
        [1, 0],
        [4, 2],
        [2, 3],
        [2, 0],
        [0, 4],
        [3, 1],
        [2, 4],
        [2, 4],
        [3, 0],
        [1, 2],
        [0, 2],
        [3, 4],
    ],
    "unit": [
        [0.938, 0.3448, -0.0363],
        [-0.3186, -0.3492, 0.8812],
        [0.8207, 0.1094, -0.5607],
        [-0.7847, -0.0473, 0.6181],
        [-0.778, -0.4504, -0.4381],
        [0.0679, -0.987, -0.1458],
        [-0.5887, 0.6095, -0.531],
        [0.3476, 0.9184, -0.1889],
        [-0.9529, 0.3032, -0.0032],
        [-0.4332, 0.2009, 0.8786],
        [-0.2357, -0.1852, -0.954],
        [0.188, -0.7345, -0.652],
        [0.672, -0.4755, 0.5678],
        [0.9282, 0.1579, 0.337],
        [0.9524, -0.096, -0.2893],
        [-0.6749, 0.0208, 0.7377],
        [0.6021, -0.5911, -0.5367],
        [-0.816, 0.473, -0.3323],
        [0.4538, 0.6279, -0.6322],
        [-0.1773, 0.9117, -0.3706],
        [0.2485, 0.9235, 0.2922],
        [0.0322, -0.974, 0.2241],
        [-0.7632, -0.5524, 0.3351],
        [0.3805, -0.0808, -0.9213],
    ],
    "unit2": [
        [-0.3706, -0.6773, 0.6355],
        [0.9414, 0.0905, -0.3249],
        [-0.9877, -0.0473, -0.1492],
        [-0.7055, 0.0713, -0.7051],
        [0.5909, 0.5646, 0.5763],
        [-0.6658, 0.7227, -0.1855],
        [-0.278, -0.2425, -0.9294],
        [-0.8703, 0.4788, -0.1153],
        [0.1075, 0.4975, -0.8608],
        [-0.877, 0.1961, 0.4386],
        [-0.3379, 0.9221, 0.1885],
        [-0.702, -0.5385, 0.466],
        [0.1953, -0.7998, 0.5676],
        [0.3935, 0.884, -0.2525],
        [-0.1059, -0.4035, 0.9088],
        [-0.1018, 0.9212, -0.3756],
        [0.0951, -0.9703, -0.2223],
        [0.5125, -0.6521, 0.5586],
        [0.2796, -0.8654, -0.4158],
        [-0.6488, -0.07, -0.7577],
        [-0.6113, -0.2251, -0.7588],
        [-0.8247, -0.0308, 0.5647],
        [-0.9203, 0.0021, -0.3911],
        [-0.6994, 0.6109, -0.3709],
    ],
    "idx": [
        [1, 3],
        [3, 3],
        [3, 4],
        [4, 1],
        [0, 1],
        [4, 3],
        [2, 4],
        [1, 0],
        [3, 0],
        [1, 2],
        [0, 2],
        [4, 3],
        [0, 2],
        [3, 1],
        [2, 1],
        [3, 0],
        [4, 0],
        [0, 3],
        [1, 0],
        [4, 0],
        [0, 3],
        [4, 2],
        [3, 0],
        [3, 4],
    ],
    "dec": [0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0],
}

# Unweighted, weighted.
EXPECTED: dict[str, tuple[Any, Any]] = {
    "accuracy": (0.625, 0.6571429),
    "binary_accuracy": (0.7083333, 0.6312925),
    "binary_accuracy@0.3": (0.5833333, 0.5455782),
    "precision": (0.7777778, 0.6015284),
    "precision@0.3": (0.5625, 0.4989354),
    "recall": (0.5833333, 0.5515516),
    "recall@0.3": (0.75, 0.7037037),
    "true_positives": (7.0, 5.51),
    "true_positives_at_thresholds": ([4.0, 11.0, 7.0], [2.82, 9.679999, 5.51]),
    "false_positives": (2.0, 3.65),
    "false_positives_at_thresholds": ([0.0, 7.0, 2.0], [0.0, 7.06, 3.65]),
    "true_negatives": (10.0, 8.41),
    "true_negatives_at_thresholds": ([12.0, 5.0, 10.0], [12.06, 5.0, 8.41]),
    "false_negatives": (5.0, 4.48),
    "false_negatives_at_thresholds": ([8.0, 1.0, 5.0], [7.17, 0.31, 4.48]),
    "precision_at_thresholds": ([1.0, 0.6111111, 0.7777778], [1.0, 0.5782557, 0.6015284]),
    "recall_at_thresholds": ([0.3333333, 0.9166667, 0.5833333], [0.2822823, 0.9689689, 0.5515516]),
    "auc ROC interpolation": (0.7569444, 0.7280555),
    "auc ROC minoring": (0.7569444, 0.7280555),
    "auc ROC majoring": (0.7569444, 0.7280555),
    "auc ROC trapezoidal": (0.7569444, 0.7280555),
    "auc ROC careful_interpolation": (0.7569444, 0.7280555),
    "auc ROC interpolation 11": (0.7569445, 0.7350783),
    "auc ROC interpolation listed": (0.75, 0.7362258),
    "auc PR interpolation": (0.8053256, 0.7245359),
    "auc PR minoring": (0.6303264, 0.5442656),
    "auc PR majoring": (0.8130942, 0.7406952),
    "auc PR trapezoidal": (0.8050435, 0.7235614),
    "auc PR careful_interpolation": (0.8053256, 0.7245359),
    "auc PR interpolation 11": (0.8074931, 0.7398295),
    "auc PR interpolation listed": (0.7346268, 0.6425558),
    "sensitivity_at_specificity": (0.6666667, 0.5515516),
    "specificity_at_sensitivity": (0.6666667, 0.672471),
    "specificity_at_sensitivity 1": (0.0, 0.0),
    "mean": (-0.25425, -0.2494363),
    "percentage_below": (0.6666667, 0.6226757),
    "mean_absolute_error": (1.002083, 0.9332113),
    "mean_squared_error": (1.405795, 1.287049),
    "root_mean_squared_error": (1.185662, 1.134482),
    "mean_relative_error": (1.077527, 0.9529456),
    "mean_cosine_distance": (1.059349, 0.9730321),
    "mean_iou": (0.4196429, 0.4503836),
    "mean_per_class_accuracy": (0.4935065, 0.5540997),
    "precision_at_k 1": (0.375, 0.3496599),
    "recall_at_k 1": (0.1875, 0.1748299),
    "average_precision_at_k 1": (0.375, 0.3496599),
    "precision_at_k 2": (0.4166667, 0.4482993),
    "recall_at_k 2": (0.4166667, 0.4482993),
    "average_precision_at_k 2": (0.34375, 0.3570295),
    "precision_at_k 3": (0.4027778, 0.4444444),
    "recall_at_k 3": (0.6041667, 0.6666667),
    "average_precision_at_k 3": (0.4409722, 0.4712396),
    "precision_at_k 2 class 1": (0.125, 0.1880559),
    "recall_at_k 2 class 1": (0.1428571, 0.2690909),
    "recall_at_k 2 single": (0.5416667, 0.6331066),
    "precision_at_k 2 single": (0.2708333, 0.3165533),
    "precision_at_top_k": (0.4468085, 0.4486278),
    "recall_at_top_k": (0.4375, 0.4485261),
    "mean_tensor": (
        [[0.3269, 0.001266668, -0.3450333], [-0.3451333, -0.4611667, 0.4511667]],
        [[0.1224627, -0.09814506, -0.4057338], [-0.3866407, -0.4860243, 0.2614527]],
    ),
    "precision of classes": (0.6666667, 0.6142578),
    "recall of classes": (0.6666667, 0.6296296),
}


THRESHOLDS = [0.8, 0.25, 0.5]


def at_thresholds(function: Callable[..., Metric]) -> Callable[..., Metric]:
    return lambda binary, prob, weights: function(binary, prob, THRESHOLDS, weights)


def auc(**options: Any) -> Callable[..., Metric]:
    return lambda binary, prob, weights: metrics.auc(binary, prob, weights, **options)


# What gives each number, and the names of its inputs.
CASES: dict[str, tuple[Callable[..., Metric], tuple[str, ...]]] = {
    "accuracy": (metrics.accuracy, ("cls", "pcl")),
    "binary_accuracy": (metrics.binary_accuracy, ("binary", "prob")),
    "binary_accuracy@0.3": (lambda y, p, w: metrics.binary_accuracy(y, p, w, threshold=0.3), ("binary", "prob")),
    "precision": (metrics.precision, ("binary", "prob")),
    "precision@0.3": (lambda y, p, w: metrics.precision(y, p, w, threshold=0.3), ("binary", "prob")),
    "precision of classes": (metrics.precision, ("binary", "dec")),
    "recall": (metrics.recall, ("binary", "prob")),
    "recall@0.3": (lambda y, p, w: metrics.recall(y, p, w, threshold=0.3), ("binary", "prob")),
    "recall of classes": (metrics.recall, ("binary", "dec")),
    "true_positives": (metrics.true_positives, ("binary", "prob")),
    "false_positives": (metrics.false_positives, ("binary", "prob")),
    "true_negatives": (metrics.true_negatives, ("binary", "prob")),
    "false_negatives": (metrics.false_negatives, ("binary", "prob")),
    "true_positives_at_thresholds": (at_thresholds(metrics.true_positives_at_thresholds), ("binary", "prob")),
    "false_positives_at_thresholds": (at_thresholds(metrics.false_positives_at_thresholds), ("binary", "prob")),
    "true_negatives_at_thresholds": (at_thresholds(metrics.true_negatives_at_thresholds), ("binary", "prob")),
    "false_negatives_at_thresholds": (at_thresholds(metrics.false_negatives_at_thresholds), ("binary", "prob")),
    "precision_at_thresholds": (at_thresholds(metrics.precision_at_thresholds), ("binary", "prob")),
    "recall_at_thresholds": (at_thresholds(metrics.recall_at_thresholds), ("binary", "prob")),
    **{
        f"auc {curve} {method}": (auc(curve=curve, summation_method=method), ("binary", "prob"))
        for curve in ("ROC", "PR")
        for method in ("interpolation", "minoring", "majoring", "trapezoidal", "careful_interpolation")
    },
    **{
        f"auc {curve} interpolation {kind}": (auc(curve=curve, **options), ("binary", "prob"))
        for curve in ("ROC", "PR")
        for kind, options in (("11", {"num_thresholds": 11}), ("listed", {"thresholds": [0.7, 0.2, 0.45]}))
    },
    "sensitivity_at_specificity": (
        lambda y, p, w: metrics.sensitivity_at_specificity(y, p, 0.7, w),
        ("binary", "prob"),
    ),
    "specificity_at_sensitivity": (
        lambda y, p, w: metrics.specificity_at_sensitivity(y, p, 0.7, w),
        ("binary", "prob"),
    ),
    "specificity_at_sensitivity 1": (
        lambda y, p, w: metrics.specificity_at_sensitivity(y, p, 0.7, w, num_thresholds=1),
        ("binary", "prob"),
    ),
    "mean": (metrics.mean, ("real",)),
    "percentage_below": (lambda values, w: metrics.percentage_below(values, 0.5, w), ("real",)),
    "mean_absolute_error": (metrics.mean_absolute_error, ("real", "est")),
    "mean_squared_error": (metrics.mean_squared_error, ("real", "est")),
    "root_mean_squared_error": (metrics.root_mean_squared_error, ("real", "est")),
    "mean_relative_error": (lambda y, p, w: metrics.mean_relative_error(y, p, y.abs(), w), ("real", "est")),
    "mean_cosine_distance": (lambda y, p, w: metrics.mean_cosine_distance(y, p, 1, w), ("unit", "unit2")),
    "mean_iou": (lambda y, p, w: metrics.mean_iou(y, p, 4, w), ("cls", "pcl")),
    "mean_per_class_accuracy": (lambda y, p, w: metrics.mean_per_class_accuracy(y, p, 4, w), ("cls", "pcl")),
    **{
        f"{name} {k}": (lambda y, s, w, name=name, k=k: getattr(metrics, name)(y, s, k, weights=w), ("multi", "scores"))
        for name in ("precision_at_k", "recall_at_k", "average_precision_at_k")
        for k in (1, 2, 3)
    },
    "precision_at_k 2 class 1": (lambda y, s, w: metrics.precision_at_k(y, s, 2, 1, w), ("multi", "scores")),
    "recall_at_k 2 class 1": (lambda y, s, w: metrics.recall_at_k(y, s, 2, 1, w), ("multi", "scores")),
    "recall_at_k 2 single": (lambda y, s, w: metrics.recall_at_k(y, s, 2, weights=w), ("cls", "scores")),
    "precision_at_k 2 single": (lambda y, s, w: metrics.precision_at_k(y, s, 2, weights=w), ("cls", "scores")),
    "precision_at_top_k": (lambda y, i, w: metrics.precision_at_top_k(y, i, weights=w), ("multi", "idx")),
    "recall_at_top_k": (lambda y, i, w: metrics.recall_at_top_k(y, i, weights=w), ("multi", "idx")),
}


def tensor(name: str) -> Tensor:
    return torch.tensor(INPUTS[name])


def value_over_batches(
    function: Callable[..., Metric], columns: list[Tensor], weights: Tensor | None, cuts: tuple[tuple[int, int], ...]
) -> Tensor:
    metric: Metric | None = None
    for begin, end in cuts:
        batch_weights = None if weights is None else weights[begin:end]
        batch = function(*(column[begin:end] for column in columns), batch_weights)
        metric = batch if metric is None else metric.merge(batch)
    assert metric is not None
    return metric.compute()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_value_is_tensorflows(case: str, weighted: bool) -> None:
    function, columns = CASES[case]
    inputs = [tensor(name) for name in columns]
    value = value_over_batches(function, inputs, tensor("weights") if weighted else None, CUTS)
    expected = torch.tensor(EXPECTED[case][weighted], dtype=torch.float64)
    assert value.shape == expected.shape
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_mean_tensor_is_tensorflows(weighted: bool) -> None:
    rows, weights = tensor("unit"), tensor("weights")
    metric: Metric | None = None
    for step in range(3):
        batch_weights = weights[4 + 2 * step : 6 + 2 * step, None] if weighted else None
        batch = metrics.mean_tensor(rows[2 * step : 2 * step + 2], batch_weights)
        metric = batch if metric is None else metric.merge(batch)
    assert metric is not None
    expected = torch.tensor(EXPECTED["mean_tensor"][weighted], dtype=torch.float64)
    torch.testing.assert_close(metric.compute(), expected, rtol=2e-6, atol=1e-7)


def test_every_number_is_compared() -> None:
    assert set(EXPECTED) == {*CASES, "mean_tensor"}


def test_public_functions_are_those_of_tensorflow() -> None:
    functions = {name for name in metrics.__all__ if name.islower()}
    compared = {case.split("@")[0].split(" ")[0] for case in EXPECTED}
    assert functions - compared == {"confusion_matrix"}
    assert compared <= functions


# The figures of one small example, with tf.estimator's AUC of both generations.
AUC_LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])
AUC_PREDICTIONS = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.9, 0.2, 0.6, 0.5])
AUC_WEIGHTS = torch.tensor([1, 2, 1, 1, 0.5, 1, 3, 1])


@pytest.mark.parametrize(
    ("predictions", "weights", "options", "expected"),
    [
        (AUC_PREDICTIONS, None, {"curve": "ROC"}, 0.733333),
        (AUC_PREDICTIONS, None, {"curve": "PR"}, 0.780278),
        (AUC_PREDICTIONS, None, {"curve": "ROC", "summation_method": "trapezoidal"}, 0.733333),
        (AUC_PREDICTIONS, None, {"curve": "PR", "summation_method": "trapezoidal"}, 0.776667),
        (AUC_PREDICTIONS, AUC_WEIGHTS, {"curve": "ROC"}, 0.688889),
        (AUC_PREDICTIONS, AUC_WEIGHTS, {"curve": "PR"}, 0.768720),
        (torch.full((8,), 0.5), None, {"curve": "PR"}, 0.625),
        (torch.full((8,), 0.5), None, {"curve": "PR", "summation_method": "trapezoidal"}, 0.8125),
        (torch.full((8,), 0.5), None, {"curve": "ROC"}, 0.5),
        (torch.full((8,), 0.5), None, {"curve": "ROC", "summation_method": "trapezoidal"}, 0.5),
    ],
)
def test_auc_figures(predictions: Tensor, weights: Tensor | None, options: dict[str, Any], expected: float) -> None:
    value = metrics.auc(AUC_LABELS, predictions, weights, **options).compute()
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_binary_figures() -> None:
    assert metrics.binary_accuracy(AUC_LABELS, AUC_PREDICTIONS).compute().item() == 0.5
    assert metrics.precision(AUC_LABELS, AUC_PREDICTIONS).compute().item() == pytest.approx(0.666667, abs=1e-6)
    assert metrics.recall(AUC_LABELS, AUC_PREDICTIONS).compute().item() == pytest.approx(0.4)
