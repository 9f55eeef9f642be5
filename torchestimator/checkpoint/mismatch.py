"""Comparing the tensors that a model wants with those that a file holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]

_MAX_LISTED = 10


@dataclass(frozen=True)
class NameDifferences:
    """Which names two sets of tensors do not share."""

    missing: tuple[str, ...]
    """Wanted, but not in the file."""
    unexpected: tuple[str, ...]
    """In the file, but not wanted."""


def compare(targets: Mapping[str, Tensor], stored: Shapes, path: str, strict: bool) -> NameDifferences:
    """Checks that `targets` can be filled from a file.

    A floating-point tensor may be filled from one of another floating-point dtype; any other difference in dtype or
    shape is refused, and a difference in names too if `strict`.

    Args:
        targets: The tensors to fill.
        stored: What the file holds.
        path: The file's name, for the error.
        strict: Whether each side must have all names of the other.

    Returns:
        The names that only one side has; without any if `strict`.

    Raises:
        ValueError: They do not fit; one message lists all differences.
    """
    differences = NameDifferences(
        missing=tuple(name for name in targets if name not in stored),
        unexpected=tuple(name for name in stored if name not in targets),
    )
    different = [
        f"{name} (file: {_spell(*stored[name])}, wanted: {_spell(target.dtype, tuple(target.shape))})"
        for name, target in targets.items()
        if name in stored and not _fits(target, *stored[name])
    ]
    groups: dict[str, Sequence[str]] = {"of another shape or dtype": different}
    if strict:
        groups |= {"missing in the file": differences.missing, "only in the file": differences.unexpected}
    if any(groups.values()):
        lines = "".join(f"\n  {title}: {shorten(names)}" for title, names in groups.items() if names)
        raise ValueError(
            f"{path} holds the tensors of another model:{lines}\n"
            "Load it into the model that it was saved from, train the changed model in a new `model_dir`, or take over "
            "what still fits with `warm_start_from`"
        )
    return differences


def _fits(target: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    convertible = target.is_floating_point() and dtype.is_floating_point
    return tuple(target.shape) == shape and (target.dtype == dtype or convertible)


def _spell(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


def shorten(names: Sequence[str]) -> str:
    """The first ten of `names` for an error message, and how many follow."""
    more = f", and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
