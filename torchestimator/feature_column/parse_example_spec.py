"""make_parse_example_spec: the features that columns need, as a spec to decode tf.Examples with."""

from collections.abc import Iterable
from typing import Any

from torchestimator.feature_column.column import FeatureColumn, ParseSpec


def make_parse_example_spec(feature_columns: Iterable[FeatureColumn]) -> ParseSpec:
    """The features that columns need, to decode tf.Examples with (tf.feature_column.make_parse_example_spec).

        spec = make_parse_example_spec(feature_columns)
        receiver_fn = te.export.build_parsing_serving_input_receiver_fn(spec)

    Args:
        feature_columns: all columns of the model.

    Returns:
        A te.io.FixedLenFeature or VarLenFeature for each feature.

    Raises:
        TypeError: one of them is no feature column.
        ValueError: two of them need one feature in different forms.
    """
    specs = []
    for column in feature_columns:
        if not isinstance(column, FeatureColumn):
            raise TypeError(
                f"`feature_columns` must be feature columns, such as numeric_column(...). Received: {column!r}."
            )
        specs.append(column.parse_example_spec)
    return merge_parse_specs(specs)


def merge_parse_specs(specs: Iterable[ParseSpec]) -> ParseSpec:
    """One spec of several.

    Raises:
        ValueError: two have different forms for one feature.
    """
    merged: dict[str, Any] = {}
    for spec in specs:
        for key, feature in spec.items():
            if merged.setdefault(key, feature) != feature:
                raise ValueError(
                    f"Two feature columns need the feature {key!r} in different forms. Received: {merged[key]} and "
                    f"{feature}. Give them the same shape, dtype and default, or different features."
                )
    return merged
