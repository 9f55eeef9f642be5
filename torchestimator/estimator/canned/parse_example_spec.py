"""How serialised tf.Examples of a model's features and label are decoded."""

from collections.abc import Sequence
from typing import Any

import torch

from torchestimator.feature_column import make_parse_example_spec
from torchestimator.feature_column.numeric import NumericColumn
from torchestimator.io import FixedLenFeature

Spec = dict[str, Any]


def classifier_parse_example_spec(
    feature_columns: Sequence[Any],
    label_key: str,
    label_dtype: Any = torch.int64,
    label_default: Any = None,
    weight_column: Any = None,
) -> Spec:
    """The features, label and weight of a classifier in a tf.Example, for `te.io.parse_example`.

    Args:
        feature_columns: the model's columns.
        label_key: name of the label.
        label_dtype: torch.int64 for ids, `str` for strings.
        label_default: the label where there is none; None: it must be there.
        weight_column: the weight, by name or as a numeric column.

    Returns:
        te.io.FixedLenFeature and te.io.VarLenFeature by name.

    Raises:
        ValueError: label or weight is a feature of the model.
        TypeError: `weight_column` is of the wrong type.
    """
    return _with_label(feature_columns, label_key, FixedLenFeature((1,), label_dtype, label_default), weight_column)


def regressor_parse_example_spec(
    feature_columns: Sequence[Any],
    label_key: str,
    label_dtype: Any = torch.float32,
    label_default: Any = None,
    label_dimension: int = 1,
    weight_column: Any = None,
) -> Spec:
    """The features, label and weight of a regression in a tf.Example, for `te.io.parse_example`.

    Args:
        feature_columns: the model's columns.
        label_key: name of the label.
        label_dtype: dtype of the label.
        label_default: the label where there is none; None: it must be there.
        label_dimension: numbers per label.
        weight_column: the weight, by name or as a numeric column.

    Returns:
        te.io.FixedLenFeature and te.io.VarLenFeature by name.

    Raises:
        ValueError: label or weight is a feature of the model.
        TypeError: `weight_column` is of the wrong type.
    """
    label = FixedLenFeature((label_dimension,), label_dtype, label_default)
    return _with_label(feature_columns, label_key, label, weight_column)


def _with_label(feature_columns: Sequence[Any], label_key: str, label: FixedLenFeature, weight_column: Any) -> Spec:
    spec: Spec = dict(make_parse_example_spec(feature_columns))
    if label_key in spec:
        raise ValueError(
            f"The label must not be a feature of the model as well. Received: label_key={label_key!r}, features "
            f"{sorted(spec)}."
        )
    spec[label_key] = label
    if weight_column is None:
        return spec
    if not isinstance(weight_column, str | NumericColumn):
        raise TypeError(f"`weight_column` must be a name or a numeric column. Received: {weight_column!r}.")
    key = weight_column if isinstance(weight_column, str) else weight_column.key
    if key in spec:
        raise ValueError(
            f"The weight must not be a feature or the label as well. Received: weight_column={key!r}, features "
            f"{sorted(spec)}."
        )
    if isinstance(weight_column, str):
        spec[key] = FixedLenFeature((1,), torch.float32)
    else:
        spec |= make_parse_example_spec([weight_column])
    return spec
