"""Checks that the ready-made estimators share."""

from collections.abc import Mapping
from typing import Any

from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.head import Head


def feature_cache(features: Any) -> FeatureTransformationCache:
    """The features of a batch, ready for columns to share what they compute.

    Raises:
        TypeError: they are no dict.
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            "`features` must be a dict of tensors by name, since feature columns ask for them by name. "
            f'Received: {type(features).__name__}. Let input_fn give {{"x": ...}}'
        )
    return FeatureTransformationCache(features)


def check_head(head: Any) -> None:
    """Refuses what is no head."""
    if not isinstance(head, Head):
        raise TypeError(f"`head` must be a head such as te.RegressionHead(). Received: {head!r}.")
