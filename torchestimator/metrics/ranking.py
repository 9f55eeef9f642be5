"""Precision, recall and average precision among the k highest scored classes of each example.

Labels are class ids, one or several per example, as a set: an id given twice counts once. Where examples have
different numbers of labels, fill up with -1: negative ids are no labels (`tf.compat.v1.metrics` took a SparseTensor
for that). Ids of unknown classes (num_classes and above) are never found, and count as missed in the recall.
"""

import math

import torch
from torch import Tensor

from torchestimator.metrics.aggregation import Mean, Ratio
from torchestimator.metrics.alignment import TensorLike, as_tensor
from torchestimator.metrics.metric import accumulator_dtype, divide


def precision_at_k(
    labels: TensorLike, predictions: TensorLike, k: int, class_id: int | None = None, weights: TensorLike | None = None
) -> Ratio:
    """Share of the k highest scored classes that are labels (`tf.compat.v1.metrics.precision_at_k`).

    Args:
        labels: [...] or [..., labels], class ids.
        predictions: [..., classes], scores. Of equal scores the lower class id comes first.
        k: between 1 and the number of classes.
        class_id: count this class alone: of the examples with it among the k highest, the share with it as label.
        weights: a number, [batch], [batch, 1] or the shape of `predictions` without the last dimension.

    Returns:
        A metric with a value of shape []; NaN when nothing was predicted, as in TensorFlow.

    Raises:
        ValueError: shapes that do not fit, or a `k` that is not allowed.
        TypeError: labels that are no class ids.
    """
    return precision_at_top_k(labels, _top_k(predictions, k), class_id=class_id, weights=weights)


def recall_at_k(
    labels: TensorLike, predictions: TensorLike, k: int, class_id: int | None = None, weights: TensorLike | None = None
) -> Ratio:
    """Share of the labels that are among the k highest scored classes (`tf.compat.v1.metrics.recall_at_k`).

    Args:
        labels: [...] or [..., labels], class ids.
        predictions: [..., classes], scores. Of equal scores the lower class id comes first.
        k: between 1 and the number of classes.
        class_id: count this class alone: of the examples with it as label, the share with it among the k highest.
        weights: a number, [batch], [batch, 1] or the shape of `predictions` without the last dimension.

    Returns:
        A metric with a value of shape []; NaN when there were no labels, as in TensorFlow.

    Raises:
        ValueError: shapes that do not fit, or a `k` that is not allowed.
        TypeError: labels that are no class ids.
    """
    return recall_at_top_k(labels, _top_k(predictions, k), class_id=class_id, weights=weights)


def precision_at_top_k(
    labels: TensorLike,
    predictions_idx: TensorLike,
    k: int | None = None,
    class_id: int | None = None,
    weights: TensorLike | None = None,
) -> Ratio:
    """`precision_at_k` of class ids that were already chosen (`tf.compat.v1.metrics.precision_at_top_k`).

    Args:
        labels: [...] or [..., labels], class ids.
        predictions_idx: [..., chosen], class ids, best first, such as `scores.topk(10).indices`.
        k: take the first k of them; None takes all.
        class_id: count this class alone.
        weights: a number, [batch], [batch, 1] or the shape of `predictions_idx` without the last dimension.

    Returns, Raises: as `precision_at_k`.
    """
    labels, chosen = _class_ids(labels, predictions_idx, k)
    if class_id is None:
        found, predicted = _hits(labels, chosen).sum(-1), _is_first(chosen).sum(-1)
    else:
        predicted = (chosen == class_id).any(-1)
        found = predicted & (labels == class_id).any(-1)
    return Ratio(empty=math.nan).update(found, predicted, weights)


def recall_at_top_k(
    labels: TensorLike,
    predictions_idx: TensorLike,
    k: int | None = None,
    class_id: int | None = None,
    weights: TensorLike | None = None,
) -> Ratio:
    """`recall_at_k` of class ids that were already chosen (`tf.compat.v1.metrics.recall_at_top_k`).

    Args: as `precision_at_top_k`.

    Returns, Raises: as `recall_at_k`.
    """
    labels, chosen = _class_ids(labels, predictions_idx, k)
    if class_id is None:
        found, relevant = _hits(labels, chosen).sum(-1), _is_label(labels).sum(-1)
    else:
        relevant = (labels == class_id).any(-1)
        found = relevant & (chosen == class_id).any(-1)
    return Ratio(empty=math.nan).update(found, relevant, weights)


def average_precision_at_k(
    labels: TensorLike, predictions: TensorLike, k: int, weights: TensorLike | None = None
) -> Mean:
    """Mean over the examples of the average precision at k (`tf.compat.v1.metrics.average_precision_at_k`).

    Of one example: the precision among the first i classes, summed over the places i <= k at which a label stands,
    divided by the number of its labels or by k, whichever is less.

    Args:
        labels: [...] or [..., labels], class ids; those outside [0, classes) are ignored.
        predictions: [..., classes], scores. Of equal scores the lower class id comes first.
        k: between 1 and the number of classes.
        weights: a number, [batch], [batch, 1] or the shape of `predictions` without the last dimension.

    Returns:
        A metric with a value of shape []; an example without labels counts as 0 (TensorFlow: NaN for all).

    Raises:
        ValueError: shapes that do not fit, or a `k` that is not allowed.
        TypeError: labels that are no class ids.
    """
    predictions = as_tensor(predictions)
    labels, chosen = _class_ids(labels, _top_k(predictions, k))
    hits = _hits(labels, chosen)
    dtype = accumulator_dtype(hits.device)
    precisions = hits.cumsum(-1).to(dtype) / torch.arange(1, k + 1, device=hits.device)
    num_labels = (_is_label(labels) & (labels < predictions.shape[-1])).sum(-1).clamp(max=k)
    return Mean().update(divide((precisions * hits).sum(-1), num_labels), weights)


def _class_ids(labels: TensorLike, predictions_idx: TensorLike, k: int | None = None) -> tuple[Tensor, Tensor]:
    """labels [..., labels] and the first k of the predicted class ids [..., k], int64."""
    labels, chosen = as_tensor(labels), as_tensor(predictions_idx)
    for name, ids in (("labels", labels), ("predictions_idx", chosen)):
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise TypeError(f"`{name}` must be integer class ids, not one-hot or scores. Received: dtype {ids.dtype}.")
    sets = labels.unsqueeze(-1) if labels.ndim == chosen.ndim - 1 else labels
    if chosen.ndim == 0 or sets.ndim != chosen.ndim or sets.shape[:-1] != chosen.shape[:-1]:
        rows = ", ".join([*map(str, chosen.shape[:-1]), "..."])
        raise ValueError(
            "`labels` must be [batch] or [batch, labels] where the predictions are [batch, classes]. "
            f"Received: labels {list(labels.shape)}, predictions [{rows}]."
        )
    if k is not None:
        _check_k(k, chosen.shape[-1])
        chosen = chosen[..., :k]
    return sets.to(torch.int64), chosen.to(torch.int64)


def _check_k(k: int, limit: int) -> None:
    if not 1 <= k <= limit:
        raise ValueError(f"`k` must lie between 1 and the {limit} predicted classes. Received: k={k}.")


def _top_k(predictions: TensorLike, k: int) -> Tensor:
    """Ids of the k highest scores, best first, of equal scores the lower id first, as `tf.math.top_k` orders them.

    `torch.topk` leaves open which of equal scores it takes, and in which order; a model that has not learned yet,
    or one in bfloat16, would get another value on another device.

    Args:
        predictions: [..., classes].
        k: between 1 and the number of classes.

    Returns:
        [..., k], int64.
    """
    predictions = as_tensor(predictions)
    if predictions.ndim == 0:
        raise ValueError("`predictions` must be scores of shape [..., classes]. Received: [].")
    num_classes = predictions.shape[-1]
    _check_k(k, num_classes)
    scores, ids = predictions.topk(k)
    # Among the scores equal to the lowest one taken, the lowest ids fill the places that are left.
    lowest = scores[..., -1:]
    descending = torch.arange(num_classes, 0, -1, dtype=torch.int32, device=predictions.device)
    tied = torch.where(predictions == lowest, descending, 0).topk(k).indices
    place = torch.arange(k, device=predictions.device) - (scores != lowest).sum(-1, keepdim=True)
    ids = torch.where(place >= 0, tied.gather(-1, place.clamp(min=0)), ids)
    # The order among equal scores above: by id first, then stably by score.
    ids, by_id = ids.sort(-1)
    by_score = scores.gather(-1, by_id).sort(stable=True, dim=-1, descending=True).indices
    return ids.gather(-1, by_score)


def _is_first(ids: Tensor) -> Tensor:
    """Whether each id [..., ids] has not come before in its row: sets count an id once."""
    same = ids.unsqueeze(-1) == ids.unsqueeze(-2)
    return ~same.tril(-1).any(-1)


def _is_label(labels: Tensor) -> Tensor:
    """Whether each entry of labels [..., labels] is a label: not filled up, and not a repetition."""
    return (labels >= 0) & _is_first(labels)


def _hits(labels: Tensor, chosen: Tensor) -> Tensor:
    """Whether each chosen id [..., k] is a label of its example and has not come before."""
    matches = (chosen.unsqueeze(-1) == labels.unsqueeze(-2)) & (labels >= 0).unsqueeze(-2)
    return matches.any(-1) & _is_first(chosen)
