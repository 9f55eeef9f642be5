"""Writing tf.Examples."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from torchestimator.io.example_message import example_class, feature_class

_FLOAT32_END = 2.0**128 - 2.0**103
"""What is smaller than this rounds to a float32, halfway between the largest one and the next power of two."""


def encode_example(features: Mapping[str, Any]) -> bytes:
    """Serialises one tf.Example, as a client of a parsing model sends it.

    The same features give the same bytes, those that TensorFlow writes with `deterministic=True`.

    Args:
        features: values by feature name: a number, a string, a (nested) list, an array or a CPU tensor, written in
            row-major order. Whole numbers and bools are written as int64, other numbers as float32, text as UTF-8,
            bytes as they are. No values at all are a feature that is missing.

    Returns:
        The bytes.

    Raises:
        TypeError: a name is no string, or a value is of another type.
        ValueError: a number does not fit into int64 or float32, or text cannot be written as UTF-8.
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            f'`features` must be a dict of values by feature name: {{"price": [1.5]}}. Received: {features!r}.'
        )
    example = example_class()()
    # An example without features still has the field that lists them.
    example.features.SetInParent()
    for name, value in features.items():
        if not isinstance(name, str):
            raise TypeError(f"Names of features must be strings. Received: {name!r}.")
        example.features.feature[name] = encode_feature(name, value)
    return bytes(example.SerializeToString(deterministic=True))


def encode_feature(name: str, value: Any) -> bytes:
    """Serialises the values of one feature.

    Args:
        name: of the feature, for errors.
        value: as for `encode_example`.
    """
    values, kind = _values(value, name)
    if not values:
        return b""
    feature = feature_class()()
    if kind in "biu":
        feature.int64_list.value.extend(_int64(values, name))
    elif kind == "f":
        feature.float_list.value.extend(_float32(values, name))
    else:
        feature.bytes_list.value.extend(_bytes(values, name))
    return bytes(feature.SerializeToString())


def _values(value: Any, name: str) -> tuple[list[Any], str]:
    """As a flat list, and the kind of its numpy dtype."""
    if isinstance(value, int | float | str | bytes):
        return [value], "i" if isinstance(value, int) else "f" if isinstance(value, float) else "O"
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"The feature {name!r} must be a list of values, or lists of equal length. Received: {value!r} ({error})."
        ) from error
    if array.dtype.kind not in "biuf":
        # numpy would cut off NULs at the end of strings, and turn numbers among strings into strings.
        array = np.asarray(value, dtype=object)
    values = array.ravel().tolist()
    is_large = values and all(isinstance(each, int) for each in values)  # too large for any of numpy's dtypes
    return values, "i" if is_large else array.dtype.kind


def _int64(values: list[int], name: str) -> list[int]:
    limits = np.iinfo(np.int64)
    for extreme in (min(values), max(values)):
        if not limits.min <= extreme <= limits.max:
            raise ValueError(f"The feature {name!r} has a number that does not fit into int64. Received: {extreme}.")
    return list(map(int, values))  # protobuf takes no bools


def _float32(values: list[float], name: str) -> list[float]:
    for number in values:
        if _FLOAT32_END <= abs(number) < math.inf:
            raise ValueError(f"The feature {name!r} has a number that does not fit into float32. Received: {number}.")
    return values


def _bytes(values: Iterable[Any], name: str) -> list[bytes]:
    encoded = []
    for each in values:
        if not isinstance(each, str | bytes):
            raise TypeError(
                f"The feature {name!r} must hold numbers only or strings only. Received: {each!r} "
                f"({type(each).__name__}). Leave a missing feature out."
            )
        try:
            encoded.append(each.encode() if isinstance(each, str) else each)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"The feature {name!r} has text that cannot be written as UTF-8. Received: {each!r} ({error.reason})."
            ) from error
    return encoded
