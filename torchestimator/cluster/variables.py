"""Reading numbers from environment variables."""

import os


def text(name: str) -> str | None:
    """The variable's value without surrounding blanks; None where it is not set, or empty."""
    return os.environ.get(name, "").strip() or None


def whole_number(name: str, least: int = 0) -> int | None:
    """The variable's value as a number; None where it is not set, or empty.

    Raises:
        ValueError: it is no whole number, or too small.
    """
    value = text(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise ValueError(f"The environment variable {name} must be a whole number from {least}. Received: {value!r}.")
    return int(value)


def index_below(name: str, index: int, count: int, count_name: str) -> int:
    """Checks that an index that a variable gives exists.

    Raises:
        ValueError: it does not.
    """
    if index >= count:
        raise ValueError(
            f"The environment variables {name} and {count_name} contradict each other: of {count} processes, the last "
            f"is {count - 1}. Received: {name}={index}."
        )
    return index
