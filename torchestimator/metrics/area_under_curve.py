"""The area under the ROC or the precision-recall curve, from counts at fixed thresholds."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchestimator.metrics.alignment import TensorLike
from torchestimator.metrics.metric import divide
from torchestimator.metrics.thresholds import (
    ConfusionCounts,
    EvenThresholds,
    ThresholdMetric,
    Thresholds,
    listed,
)

CURVES = ("ROC", "PR")
"""Allowed values of `curve`."""

SUMMATION_METHODS = ("interpolation", "trapezoidal", "careful_interpolation", "minoring", "majoring")
"""Allowed values of `summation_method`."""


class AreaUnderCurve(ThresholdMetric):
    """Area under a curve through one point per threshold, and through one below and one above all predictions.

    Args:
        thresholds: where the predictions are cut.
        curve: one of `CURVES`.
        summation_method: one of `SUMMATION_METHODS`.
    """

    def __init__(self, thresholds: Thresholds, curve: str, summation_method: str) -> None:
        super().__init__(thresholds)
        self.curve = curve
        self.summation_method = summation_method

    def compute(self) -> Tensor:
        """The area, []."""
        counts = self._with_ends()
        if self.curve == "PR" and self.summation_method in {"interpolation", "careful_interpolation"}:
            return _interpolated_precision(counts)
        # The two v1 names stand for the v1 formulas, which keep the ends of the curve off 0 / 0.
        rounding = 1e-6 if self.summation_method in {"trapezoidal", "careful_interpolation"} else 0.0
        true_positives, false_positives, true_negatives, false_negatives = counts
        recall = divide(true_positives + rounding, true_positives + false_negatives + rounding)
        if self.curve == "ROC":
            x, y = divide(false_positives, false_positives + true_negatives + rounding), recall
        else:
            x, y = recall, divide(true_positives + rounding, true_positives + false_positives + rounding)
        if self.summation_method == "minoring":
            heights = torch.minimum(y[:-1], y[1:])
        elif self.summation_method == "majoring":
            heights = torch.maximum(y[:-1], y[1:])
        else:
            heights = (y[:-1] + y[1:]) / 2
        return ((x[:-1] - x[1:]) * heights).sum()

    def _with_ends(self) -> ConfusionCounts:
        """The counts in ascending order, with a threshold below all predictions and one above them at the ends."""
        counts = self.counts()
        if isinstance(self.thresholds, EvenThresholds):
            # Keras puts its two outer thresholds just outside 0 and 1, so none lies on them.
            counts = ConfusionCounts(*(count[1:-1] for count in counts))
        positives = self.state["histogram"][1, 1:-2].sum().reshape(1)
        negatives = self.state["histogram"][0, 1:-2].sum().reshape(1)
        none = torch.zeros_like(positives)
        return ConfusionCounts(
            true_positives=torch.cat([positives, counts.true_positives, none]),
            false_positives=torch.cat([negatives, counts.false_positives, none]),
            true_negatives=torch.cat([none, counts.true_negatives, negatives]),
            false_negatives=torch.cat([none, counts.false_negatives, positives]),
        )


def _interpolated_precision(counts: ConfusionCounts) -> Tensor:
    """Area under the precision-recall curve when both counts, not the precision, vary linearly between thresholds.

    Davis and Goadrich, "The Relationship Between Precision-Recall and ROC Curves" (2006), section 4: between two
    points the true positives are T(p) = slope * p + intercept in the predicted positives p, so the area is the
    integral of T(p) / p over dT, which is slope * (change of T + intercept * log(p_left / p_right)) / positives.
    """
    true_positives, false_positives, _, false_negatives = counts
    predicted = true_positives + false_positives
    gained = true_positives[:-1] - true_positives[1:]
    slope = divide(gained, predicted[:-1] - predicted[1:])
    intercept = true_positives[1:] - slope * predicted[1:]
    # Where nothing is predicted at the right end the precision is constant, and so the logarithm plays no part.
    ratio = torch.where(predicted[1:] == 0, 1.0, predicted[:-1] / predicted[1:])
    areas = slope * (gained + intercept * ratio.log())
    return divide(areas, true_positives[1:] + false_negatives[1:]).sum()


def auc(
    labels: TensorLike,
    predictions: TensorLike,
    weights: TensorLike | None = None,
    num_thresholds: int = 200,
    *,
    curve: str = "ROC",
    summation_method: str = "interpolation",
    thresholds: Sequence[float] | None = None,
) -> AreaUnderCurve:
    """Area under the ROC or precision-recall curve (`tf.keras.metrics.AUC`, `tf.compat.v1.metrics.auc`).

    The curve is cut at fixed thresholds, so memory and time per example are constant; the exact area of all distinct
    predictions is approached as `num_thresholds` grows, and is what a `torchmetrics.AUROC` gives in memory for every
    prediction. Values of several classes are counted together; for an area per class call it once per column.

    Args:
        labels: [...], positive where not 0.
        predictions: [...], probabilities; a trailing 1 in either is dropped.
        weights: a number, [batch], [batch, 1] or the shape of `predictions`.
        num_thresholds: at least 2, spread evenly over [0, 1].
        curve: "ROC" or "PR".
        summation_method: "interpolation" is the mid-point rule for ROC and the interpolation of the counts for PR
            (Davis and Goadrich 2006), the default of Keras; "minoring" and "majoring" bound it by rectangles below and
            above. "trapezoidal", the default of `tf.compat.v1.metrics`, overestimates PR; it and
            "careful_interpolation" follow the formulas of that module.
        thresholds: numbers in [0, 1] to take in place of `num_thresholds` even ones.

    Returns:
        A metric with a value of shape []. Its `compute` raises a ValueError after predictions outside [0, 1].

    Raises:
        ValueError: shapes that do not fit, or another argument that is not allowed.
    """
    if curve not in CURVES:
        raise ValueError(f'`curve` must be "ROC" or "PR". Received: curve={curve!r}.')
    if summation_method not in SUMMATION_METHODS:
        allowed = ", ".join(f'"{method}"' for method in SUMMATION_METHODS)
        raise ValueError(
            f"`summation_method` must be one of {allowed}. Received: summation_method={summation_method!r}."
        )
    if num_thresholds < 2:
        raise ValueError(f"`num_thresholds` must be at least 2. Received: num_thresholds={num_thresholds}.")
    cuts: Thresholds = EvenThresholds(num_thresholds) if thresholds is None else listed(sorted(thresholds))
    return AreaUnderCurve(cuts, curve, summation_method).update(labels, predictions, weights)
