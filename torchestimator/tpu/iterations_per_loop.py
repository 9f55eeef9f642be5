"""How many steps run between two returns to the host: a number, or a time."""

import re
from typing import Literal, NamedTuple

_FORM = re.compile(r"([1-9][0-9]*)([smh]?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class IterationsPerLoop(NamedTuple):
    """A parsed `TPUConfig.iterations_per_loop`."""

    value: int
    """The steps of a loop, or the seconds that a loop is to take."""
    unit: Literal["count", "seconds"]
    """Which of the two it is."""


def parse_iterations_per_loop(given: int | str) -> IterationsPerLoop:
    """Reads the forms 100, "100", "10s", "5m" and "1h".

    Raises:
        ValueError: it is none of these.
    """
    is_readable = isinstance(given, (int, str)) and not isinstance(given, bool)
    match = _FORM.fullmatch(str(given)) if is_readable else None
    if match is None:
        raise ValueError(
            "`iterations_per_loop` must be a positive number of steps, or a time such as '10s', '5m' or '1h'. "
            f"Received: {given!r}."
        )
    number, unit = match.groups()
    if unit:
        return IterationsPerLoop(int(number) * _SECONDS[unit], "seconds")
    return IterationsPerLoop(int(number), "count")
