"""What a graph is specialised to: the places, dtypes and shapes of a batch's tensors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchestimator.strategy.strategy import Batch

Place = tuple[Any, ...]
"""The keys that lead to a tensor, beginning with "features" or "labels"."""


class Signature(NamedTuple):
    """The tensors of a batch without their values; one graph runs all batches of one signature."""

    places: tuple[Place, ...]
    """Where each tensor is."""
    dtypes: tuple[torch.dtype, ...]
    """Their dtypes."""
    shapes: tuple[tuple[int, ...], ...]
    """Their shapes."""

    @classmethod
    def of(cls, batch: Batch) -> "Signature":
        """The signature of a batch."""
        found: list[tuple[Place, Tensor]] = []
        _collect(batch.features, ("features",), found)
        _collect(batch.labels, ("labels",), found)
        return cls(
            tuple(place for place, _ in found),
            tuple(tensor.dtype for _, tensor in found),
            tuple(tuple(tensor.shape) for _, tensor in found),
        )

    def tensors(self, batch: Batch) -> list[Tensor] | None:
        """The tensors of a batch in the signature's order; None if the batch has another signature.

        Runs in each step, so it looks at nothing but what it needs.
        """
        tensors: list[Tensor] = []
        try:
            for place, dtype, shape in zip(self.places, self.dtypes, self.shapes, strict=True):
                value = batch.features if place[0] == "features" else batch.labels
                for key in place[1:]:
                    value = value[key]
                if value.shape != shape or value.dtype is not dtype:
                    return None
                tensors.append(value)
        except (KeyError, IndexError, TypeError, AttributeError):
            return None
        return tensors

    def difference(self, batch: Batch) -> str:
        """What is different in another batch: `features["x"] is float32 [7, 4] instead of [32, 4]`."""
        other = Signature.of(batch)
        if self.places != other.places:
            return f"it has {[_written(p) for p in other.places]} instead of {[_written(p) for p in self.places]}"
        return ", ".join(
            f"{_written(place)} is {_short(other.dtypes[i], other.shapes[i])} instead of "
            f"{_short(self.dtypes[i], self.shapes[i])}"
            for i, place in enumerate(self.places)
            if (self.dtypes[i], self.shapes[i]) != (other.dtypes[i], other.shapes[i])
        )

    def to_json(self) -> list[Any]:
        """The signature as JSON values."""
        return [
            [list(place) for place in self.places],
            [str(dtype)[6:] for dtype in self.dtypes],
            [list(shape) for shape in self.shapes],
        ]

    @classmethod
    def from_json(cls, document: list[Any]) -> "Signature":
        """Puts back what `to_json` gave."""
        places, dtypes, shapes = document
        return cls(
            tuple(tuple(place) for place in places),
            tuple(getattr(torch, dtype) for dtype in dtypes),
            tuple(tuple(shape) for shape in shapes),
        )


def rebuilt(structure: Any, tensors: "list[Tensor]") -> Any:
    """The structure with other tensors in place of its own, taken from the front of the list, which is emptied."""
    if isinstance(structure, Tensor):
        return tensors.pop(0)
    if isinstance(structure, Mapping):
        return {key: rebuilt(value, tensors) for key, value in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(rebuilt(value, tensors) for value in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(rebuilt(value, tensors) for value in structure)
    return structure


def _collect(structure: Any, place: Place, found: list[tuple[Place, Tensor]]) -> None:
    if isinstance(structure, Tensor):
        found.append((place, structure))
    elif isinstance(structure, Mapping):
        for key, value in structure.items():
            _collect(value, (*place, key), found)
    elif isinstance(structure, list | tuple):
        for index, value in enumerate(structure):
            _collect(value, (*place, index), found)


def _written(place: Place) -> str:
    return str(place[0]) + "".join(f"[{key!r}]" for key in place[1:])


def _short(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype)[6:]} {list(shape)}"
