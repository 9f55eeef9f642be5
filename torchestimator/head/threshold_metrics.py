"""Metrics of decisions at thresholds: those that the user chooses, and the areas under the curves of all."""

from collections.abc import Sequence

from torch import Tensor

from torchestimator import metrics
from torchestimator.metrics import Metric
from torchestimator.metrics.area_under_curve import AreaUnderCurve


def check_thresholds(thresholds: Sequence[float] | None) -> tuple[float, ...]:
    """The thresholds as a tuple.

    Raises:
        ValueError: one does not lie between 0 and 1.
    """
    checked = tuple(thresholds or ())
    outside = [threshold for threshold in checked if not 0 < threshold < 1]
    if outside:
        raise ValueError(f"`thresholds` must lie between 0 and 1, without the two. Received: {outside}.")
    return checked


def at_thresholds(
    thresholds: Sequence[float], labels: Tensor, probabilities: Tensor, weights: Tensor | None
) -> dict[str, Metric]:
    """Three metrics for each threshold, which a probability must exceed to count as positive.

    Args:
        thresholds: between 0 and 1.
        labels: [..., outputs] 0 or 1.
        probabilities: [..., outputs].
        weights: [..., 1] or None.
    """
    found: dict[str, Metric] = {}
    for threshold in thresholds:
        at = f"positive_threshold_{threshold:g}"
        found[f"accuracy/{at}"] = metrics.binary_accuracy(labels, probabilities, weights, threshold)
        found[f"precision/{at}"] = metrics.precision(labels, probabilities, weights, threshold)
        found[f"recall/{at}"] = metrics.recall(labels, probabilities, weights, threshold)
    return found


def areas_under_curves(
    labels: Tensor, probabilities: Tensor, weights: Tensor | None, of_class: str = ""
) -> dict[str, Metric]:
    """The areas under the ROC and the precision-recall curve.

    Args:
        labels: [..., outputs] 0 or 1.
        probabilities: [..., outputs].
        weights: [..., 1] or None.
        of_class: ends the names, as in "auc/<class>".
    """
    end = f"/{of_class}" if of_class else ""
    roc = metrics.auc(labels, probabilities, weights)
    # Both are made of the same counts.
    precision_recall = AreaUnderCurve(roc.thresholds, "PR", roc.summation_method).accumulate(**roc.state)
    return {f"auc{end}": roc, f"auc_precision_recall{end}": precision_recall}
