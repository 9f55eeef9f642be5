"""Checks that the ready-made estimators share."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

from torchestimator.head import Head


def check_head(head: Any) -> None:
    """Refuses what is no head."""
    if not isinstance(head, Head):
        raise TypeError(f"`head` must be a head such as te.RegressionHead(). Received: {head!r}.")


def layer_sizes(hidden_units: Any, argument: str = "hidden_units") -> list[int]:
    """The sizes of the hidden layers; none for a network without.

    Raises:
        TypeError: they are no list.
        ValueError: one is no whole number above 0.
    """
    if isinstance(hidden_units, str | Mapping) or not isinstance(hidden_units, Iterable):
        advice = f" Write: {argument}=[{hidden_units}]" if isinstance(hidden_units, Integral) else ""
        raise TypeError(
            f"`{argument}` must be a list of the sizes of the hidden layers. Received: {hidden_units!r}.{advice}"
        )
    return [whole_number(size, argument) for size in hidden_units]


def whole_number(value: Any, argument: str) -> int:
    """A number above 0.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"`{argument}` must be whole numbers above 0. Received: {value!r}.")
    return int(value)
