"""Feature specs: what a tf.Example holds under a name, and which array it becomes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

DType: TypeAlias = torch.dtype | type[str]
"""torch.float32, torch.int64 or `str`."""


@dataclass(frozen=True)
class Kind:
    """One of the three kinds of values that a tf.Example can hold."""

    name: str
    """In JSON: "float32", "int64" or "string"."""
    field: str
    """In the message `Feature`."""
    numpy: np.dtype[Any]
    """Of decoded arrays."""
    padding: Any
    """Fills up the rows of features of varying length: what TensorFlow's feature columns take for a missing value."""


_KINDS: Mapping[DType, Kind] = {
    torch.float32: Kind("float32", "float_list", np.dtype(np.float32), 0.0),
    torch.int64: Kind("int64", "int64_list", np.dtype(np.int64), -1),
    str: Kind("string", "bytes_list", np.dtype(object), ""),
}
_DTYPES: Mapping[str, DType] = {kind.name: dtype for dtype, kind in _KINDS.items()}


@dataclass(frozen=True)
class FixedLenFeature:
    """A feature that has the same number of values in every example (`tf.io.FixedLenFeature`)."""

    shape: tuple[int, ...]
    """Of one example; () for a single number, decoded as [batch]."""
    dtype: DType
    """torch.float32, torch.int64 or `str`; the names "float32", "int64" and "string" do as well."""
    default_value: Any = None
    """Stands for a missing feature: one value for all places, or an array of `shape`. None: missing is an error."""
    values: tuple[Any, ...] | None = field(init=False, repr=False, compare=False)
    """The default as Python values, one for each place; None without a default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", _dtype(self.dtype))
        object.__setattr__(self, "shape", _shape(self.shape))
        default = self.default_value
        values = None if default is None else _default_values(default, self.shape, self.kind)
        object.__setattr__(self, "values", values)
        if values is not None:
            # The same default is the same feature, whether it came as a list, a tuple or an array.
            written = values[0] if np.ndim(default) == 0 else _nested(values, self.shape)
            object.__setattr__(self, "default_value", written)

    @property
    def kind(self) -> Kind:
        """The kind of its values."""
        return _KINDS[self.dtype]

    @property
    def size(self) -> int:
        """How many values an example has."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for `feature_from_json`."""
        return {
            "kind": "fixed_len",
            "shape": list(self.shape),
            "dtype": self.kind.name,
            "default_value": self.default_value,
        }


@dataclass(frozen=True)
class VarLenFeature:
    """A feature that has any number of values in an example, none included (`tf.io.VarLenFeature`).

    Decoded as a padded array, [batch, most values in this batch]: -1 fills up int64, "" strings and 0.0 floats. The
    first two are what feature columns of categories take for missing; zeros are indistinguishable from values, so
    floats of varying number need a feature that says how many there are.
    """

    dtype: DType
    """torch.float32, torch.int64 or `str`; the names "float32", "int64" and "string" do as well."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", _dtype(self.dtype))

    @property
    def kind(self) -> Kind:
        """The kind of its values."""
        return _KINDS[self.dtype]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for `feature_from_json`."""
        return {"kind": "var_len", "dtype": self.kind.name}


def feature_from_json(document: Mapping[str, Any]) -> FixedLenFeature | VarLenFeature:
    """The feature that `to_json` described.

    Raises:
        ValueError: it is no such description.
    """
    kind = document.get("kind")
    try:
        if kind == "fixed_len":
            return FixedLenFeature(document["shape"], document["dtype"], document.get("default_value"))
        if kind == "var_len":
            return VarLenFeature(document["dtype"])
    except KeyError as error:
        raise ValueError(f"The description of a feature lacks {error}. Received: {dict(document)}.") from None
    raise ValueError(
        f'The description of a feature must have "kind": "fixed_len" or "var_len". Received: {dict(document)}.'
    )


def _dtype(dtype: Any) -> DType:
    if isinstance(dtype, str) and dtype in _DTYPES:
        return _DTYPES[dtype]
    if isinstance(dtype, torch.dtype | type) and dtype in _KINDS:
        return dtype
    raise ValueError(
        "`dtype` of a feature must be one of the three that a tf.Example can hold: torch.float32, torch.int64 or str. "
        f"Received: {dtype!r}. Convert other dtypes after decoding."
    )


def _shape(shape: Any) -> tuple[int, ...]:
    is_sizes = isinstance(shape, Sequence) and not isinstance(shape, str)
    if not is_sizes or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(
            "`shape` of a FixedLenFeature must list the sizes of one example, without the batch, each at least 1: "
            f"[3], or [] for a single number. Received: {shape!r}. For any number of values there is VarLenFeature."
        )
    return tuple(shape)


def _default_values(default: Any, shape: tuple[int, ...], kind: Kind) -> tuple[Any, ...]:
    array = np.asarray(default, dtype=object if kind.name == "string" else None)
    allowed = {
        "float32": array.dtype.kind in "fiu",
        "int64": array.dtype.kind in "iu",
        "string": all(isinstance(each, str) for each in array.flat),
    }
    if not allowed[kind.name]:
        raise ValueError(f"`default_value` of a feature of {kind.name} must be of that dtype. Received: {default!r}.")
    if array.shape not in {(), shape}:
        raise ValueError(
            f"`default_value` must be one value or have the shape {list(shape)} of the feature. "
            f"Received: {default!r}, of shape {list(array.shape)}."
        )
    values = array.astype(np.float64) if kind.name == "float32" else array  # as it was written, to be read again
    return tuple(np.broadcast_to(values, shape).ravel().tolist())


def _nested(values: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    if not shape:
        return values[0]
    step = math.prod(shape[1:])
    return tuple(_nested(values[begin : begin + step], shape[1:]) for begin in range(0, len(values), step))
