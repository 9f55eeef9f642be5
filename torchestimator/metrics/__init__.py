"""Streaming metrics for `EstimatorSpec.eval_metric_ops`, with the names and the numbers of `tf.compat.v1.metrics`.

    eval_metric_ops={
        "accuracy": te.metrics.accuracy(labels, class_ids, weights=features["weight"]),
        "auc": te.metrics.auc(labels, probabilities),
    }

Called once per batch inside model_fn, each function returns a `Metric` that has seen this batch; the evaluation loop
merges them. There are no graph collections, so `metrics_collections`, `updates_collections` and `name` do not exist.
Where the 1.x functions and Keras differ, the default is Keras's: `precision`, `recall` and the counts take predictions
above 0.5 for positive, `auc` interpolates, and `sensitivity_at_specificity` keeps the specificity.
`sparse_precision_at_k` and `sparse_average_precision_at_k` were other names of `precision_at_k` and
`average_precision_at_k`.
"""

from torchestimator.metrics.aggregation import Mean, Ratio, Sum, mean, mean_tensor, percentage_below
from torchestimator.metrics.area_under_curve import auc
from torchestimator.metrics.classification import (
    accuracy,
    binary_accuracy,
    false_negatives,
    false_positives,
    precision,
    recall,
    true_negatives,
    true_positives,
)
from torchestimator.metrics.confusion import confusion_matrix, mean_iou, mean_per_class_accuracy
from torchestimator.metrics.metric import Metric
from torchestimator.metrics.ranking import (
    average_precision_at_k,
    precision_at_k,
    precision_at_top_k,
    recall_at_k,
    recall_at_top_k,
)
from torchestimator.metrics.regression import (
    mean_absolute_error,
    mean_cosine_distance,
    mean_relative_error,
    mean_squared_error,
    root_mean_squared_error,
)
from torchestimator.metrics.thresholds import (
    false_negatives_at_thresholds,
    false_positives_at_thresholds,
    precision_at_thresholds,
    recall_at_thresholds,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    true_negatives_at_thresholds,
    true_positives_at_thresholds,
)

__all__ = [
    "Mean",
    "Metric",
    "Ratio",
    "Sum",
    "accuracy",
    "auc",
    "average_precision_at_k",
    "binary_accuracy",
    "confusion_matrix",
    "false_negatives",
    "false_negatives_at_thresholds",
    "false_positives",
    "false_positives_at_thresholds",
    "mean",
    "mean_absolute_error",
    "mean_cosine_distance",
    "mean_iou",
    "mean_per_class_accuracy",
    "mean_relative_error",
    "mean_squared_error",
    "mean_tensor",
    "percentage_below",
    "precision",
    "precision_at_k",
    "precision_at_thresholds",
    "precision_at_top_k",
    "recall",
    "recall_at_k",
    "recall_at_thresholds",
    "recall_at_top_k",
    "root_mean_squared_error",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
    "true_negatives",
    "true_negatives_at_thresholds",
    "true_positives",
    "true_positives_at_thresholds",
]
