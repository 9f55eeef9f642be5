"""Labels as a head takes them: their shape, and the range of their values."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from torchestimator.inputs.batch import to_tensors
from torchestimator.tracing import is_readable

SHOWN = 3
"""Bad labels that an error message shows."""


def labels_given(labels: Any) -> Tensor:
    """Labels as a tensor; numbers and strings in lists and arrays become one, as in an input_fn.

    Raises:
        ValueError: there are none.
        TypeError: they are a structure of several.
    """
    if isinstance(labels, Tensor):
        return labels
    if labels is None:
        raise ValueError(
            "`labels` are needed to train and to evaluate. Received: None. Let input_fn return (features, labels), "
            "and hand them on: head.create_estimator_spec(features, mode, logits, labels=labels, ...)"
        )
    if isinstance(labels, Mapping):
        raise TypeError(
            "`labels` of a single head must be one tensor. "
            f'Received: a dict of {sorted(map(str, labels))}. Write: labels=labels["..."]; te.MultiHead takes a dict.'
        )
    return torch.as_tensor(to_tensors(labels, name="labels")[0])


def dense_labels(labels: Tensor, logits: Tensor, dimension: int, advice: str) -> Tensor:
    """Labels [...] or [..., dimension] in the shape [..., dimension].

    Args:
        labels: as `labels_given` returns them.
        logits: [..., outputs], whose leading dimensions the labels must have.
        dimension: labels per example.
        advice: ends the error message about a wrong last dimension.

    Raises:
        ValueError: the shape does not fit.
        TypeError: they are sparse or nested.
    """
    if labels.layout != torch.strided or labels.is_nested:
        raise TypeError(
            "`labels` must be a dense tensor. "
            f"Received: layout {labels.layout}. Write: labels.to_dense() for one of torch.sparse, and "
            "labels.to_padded_tensor(0) for a nested one."
        )
    given = labels
    if labels.dim() == logits.dim() - 1:
        labels = labels.unsqueeze(-1)
    expected = (*logits.shape[:-1], dimension)
    if labels.dim() == logits.dim() and labels.shape[-1] != dimension:
        raise ValueError(
            f"`labels` must have {dimension} value{'s' * (dimension > 1)} per example: shape {list(expected)}. "
            f"Received: shape {list(given.shape)}. {advice}"
        )
    if labels.shape != expected:
        also = f" or {list(expected[:-1])}" if dimension == 1 else ""
        raise ValueError(
            f"`labels` must fit the logits {list(logits.shape)}: shape {list(expected)}{also}. "
            f"Received: shape {list(given.shape)}."
        )
    return labels


def numbers_within(labels: Tensor, low: float, high: float, explain: Callable[[Tensor], str]) -> Tensor:
    """Checks the range of labels that enter the loss as numbers.

    Where they can't be looked into (see `readable`) those outside become NaN, and so does the loss.

    Args:
        labels: [...] floating point.
        low: the smallest allowed.
        high: the greatest allowed.
        explain: from bool [...], True at the bad ones, to the error message.

    Raises:
        ValueError: one is outside, or NaN.
    """
    if not is_readable(labels):
        return torch.where((labels >= low) & (labels <= high), labels, torch.nan)
    if labels.numel():
        least, most = torch.aminmax(labels)
        if not (least.item() >= low and most.item() <= high):
            raise ValueError(explain(~((labels >= low) & (labels <= high))))
    return labels


def ids_within(ids: Tensor, count: int, explain: Callable[[Tensor], str]) -> tuple[Tensor, Tensor | None]:
    """Checks the range of labels that stand for classes.

    Args:
        ids: [...] int64.
        count: number of classes.
        explain: from bool [...], True at the bad ones, to the error message.

    Returns:
        The ids, all of them in the range; and None, or bool [...] where they can't be looked into: whether each was in
        the range, so that the loss of the others can be made NaN.

    Raises:
        ValueError: one is outside.
    """
    if not is_readable(ids):
        valid = (ids >= 0) & (ids < count)
        return torch.where(valid, ids, 0), valid
    if ids.numel():
        least, most = torch.aminmax(ids)
        if least.item() < 0 or most.item() >= count:
            raise ValueError(explain((ids < 0) | (ids >= count)))
    return ids, None


def shown(labels: Tensor, bad: Tensor, written: Callable[[Any], str] | None = None) -> str:
    """The first bad labels with their rows, and how many more there are, for an error message.

    Args:
        labels: [...].
        bad: bool [...], True at the bad ones; at least one.
        written: how a label is written; None: as a number.
    """
    if written is None:
        written = "{:g}".format if labels.is_floating_point() else str
    places = torch.nonzero(bad).tolist()
    listed = ", ".join(f"{written(labels[tuple(place)].item())} (row {place[0]})" for place in places[:SHOWN])
    more = f", and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return f"{listed}{more} of {bad.numel()}"
