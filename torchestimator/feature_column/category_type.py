"""The two kinds of categories: strings and whole numbers."""

from typing import Any, TypeAlias

import torch
from torch import Tensor

from torchestimator.tracing import is_readable

CategoryType: TypeAlias = torch.dtype | type[str]
"""torch.int64 or `str`."""

EMPTY_STRING = 0x9AE16A3B2F90404F - (1 << 64)
"""The fingerprint of "", which means "no value" in an ordinary tensor of strings."""

_NO_NUMBER = -1
_SMALLEST_FINGERPRINT = 1 << 32
"""Of a batch of strings all fingerprints are below this with a chance of less than one in a billion."""

_EXACT_IN_FLOAT64 = 1 << 53

_NAMES: dict[Any, CategoryType] = {
    **dict.fromkeys((str, bytes, "string", "str"), str),
    **dict.fromkeys((int, torch.int64, torch.int32, "int64", "int32"), torch.int64),
}


def category_type(dtype: Any, column: str) -> CategoryType:
    """The kind of categories that a `dtype` argument asks for.

    Raises:
        ValueError: it is neither strings nor integers.
    """
    try:
        return _NAMES[dtype]
    except (KeyError, TypeError):
        raise ValueError(
            f"`dtype` of {column} must be `str` or torch.int64: only strings and whole numbers are categories. "
            f"Received: {dtype!r}. For real numbers there is bucketized_column."
        ) from None


def category_type_name(dtype: CategoryType) -> str:
    """How errors call the kind."""
    return "string" if dtype is str else "int64"


def missing_value(dtype: CategoryType) -> int:
    """What stands for "no value" in an ordinary tensor."""
    return EMPTY_STRING if dtype is str else _NO_NUMBER


def check_category_values(values: Tensor, key: str, dtype: CategoryType) -> None:
    """Checks that a feature can be categories of a kind.

    Raises:
        TypeError: it is not.
    """
    if dtype is str:
        if values.dtype is not torch.int64:
            raise TypeError(
                f"A column takes the feature {key!r} for strings, which reach the model as int64 fingerprints. "
                f"Received: {values.dtype}. For whole numbers pass `dtype=torch.int64` to the column, or use "
                "categorical_column_with_identity; for real numbers bucketized_column(numeric_column(...), ...)."
            )
    elif values.is_floating_point() or values.is_complex() or values.dtype is torch.bool:
        raise TypeError(
            f"A column takes the feature {key!r} for whole numbers. Received: {values.dtype}. "
            f'Convert them: features["{key}"].to(torch.int64); for real numbers there is bucketized_column.'
        )


def check_likely_strings(values: Tensor, key: str) -> None:
    """Checks that int64 values may be fingerprints: those are spread over all of int64, so small ones are numbers.

    Raises:
        TypeError: they are numbers.
    """
    if is_readable(values) and values.numel() and int(values.abs().max()) < _SMALLEST_FINGERPRINT:
        raise TypeError(
            f"A column takes the feature {key!r} for strings, but it holds numbers. Received: "
            f"{values.flatten()[:3].tolist()}. Pass `dtype=torch.int64` to the column, or give it the strings."
        )


def check_likely_numbers(values: Tensor, key: str) -> None:
    """Checks that int64 values are no fingerprints: numbers beyond 2**53 would not even fit into a float64.

    Raises:
        TypeError: they are fingerprints.
    """
    if values.dtype is torch.int64 and is_readable(values) and bool((values.abs() > _EXACT_IN_FLOAT64).any()):
        raise TypeError(
            f"A column takes the feature {key!r} for numbers, but it seems to hold strings, which reach the model as "
            f"64-bit fingerprints. Received: {values.flatten()[:3].tolist()}. Use a categorical column with "
            "`dtype=str`, or convert the strings to numbers in input_fn."
        )
