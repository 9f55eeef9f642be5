"""From what a caller or client sends to the arrays that an export computes with, or to an error that names the input.

Values are cast where that keeps them: int32 to int64, whole numbers to float where they are exact, text to strings.
Real numbers may be rounded (float64 to float32), since Python and JSON have no others.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from torchestimator.export.tensor_info import TensorInfo

_BATCH = "batch"
_NUMBERS = {int, float}
_LARGEST_EXACT = {"float16": 2**11, "float32": 2**24, "float64": 2**53}
"""Integers up to here are the same number in that dtype."""


@dataclass(frozen=True, slots=True)
class InputReader:
    """An input of a file, with what each array for it is held against."""

    key: str
    """Its key in the signature."""
    info: TensorInfo
    """What the signature says of it."""
    expected: str
    """What its arrays must be, in words."""
    dtype: np.dtype[Any]
    """Of its arrays."""
    rank: int
    """Number of its dimensions."""
    fixed: tuple[tuple[int, int], ...]
    """(dimension, size)."""
    free: tuple[tuple[int, str], ...]
    """(dimension, name) where the size is free but shared with other dimensions of that name."""

    @classmethod
    def of(cls, key: str, info: TensorInfo) -> Self:
        """The reader of an input; where the signature names no dimensions, the first is taken as the batch."""
        names = info.dim_names or tuple(_BATCH if axis == 0 else None for axis in range(len(info.shape)))
        return cls(
            key,
            info,
            shown(info),
            info.type.numpy,
            len(info.shape),
            tuple((axis, size) for axis, size in enumerate(info.shape) if size >= 0),
            tuple((axis, name) for axis, name in enumerate(names) if name is not None and info.shape[axis] < 0),
        )

    def read(self, value: Any, sizes: dict[str, tuple[int, str]]) -> NDArray[Any]:
        """The array; `sizes` collects what each named dimension has in this call, and in which input."""
        if self.info.is_string:
            array = strings_from(self.key, value, as_text=True)
        else:
            array = numbers_from(self.key, value, self.expected)
            if array.dtype != self.dtype:
                array = self._cast(array)
        shape = array.shape
        if len(shape) != self.rank or any(shape[axis] != size for axis, size in self.fixed):
            self._refuse_shape(shape)
        for axis, name in self.free:
            size, first = sizes.setdefault(name, (shape[axis], self.key))
            if size != shape[axis]:
                raise ValueError(
                    f"The inputs must agree in the size of {name!r}. Received: {size} in `{first}`, "
                    f"{shape[axis]} in `{self.key}` (dimension {axis})."
                )
        return array

    def _cast(self, array: NDArray[Any]) -> NDArray[Any]:
        """To the right dtype, where that keeps the values; real numbers may be rounded, not overflow."""
        source, target = array.dtype, self.dtype
        if array.size == 0 and source.kind in "iuf":  # an empty list is of float64
            return array.astype(target)
        if source.kind == "f" and target.kind == "f":
            with np.errstate(over="ignore"):
                cast: NDArray[Any] = array.astype(target)
            if target.itemsize < source.itemsize and not np.array_equal(np.isinf(cast), np.isinf(array)):
                raise ValueError(self._outside(array))
            return cast
        if source.kind in "iu" and target.kind in "iuf":
            if not np.can_cast(source, target, "safe"):
                low, high = _exact_range(target)
                if int(array.min()) < low or int(array.max()) > high:
                    raise ValueError(self._outside(array))
            return array.astype(target)
        received = f"values such as {_first(array)!r}" if source.kind == "O" else _numpy_name(source)
        raise TypeError(
            f"The input `{self.key}` must be {self.expected}: values of {source.name} do not become "
            f"{target.name} by themselves. Received: {received}."
        )

    def _outside(self, array: NDArray[Any]) -> str:
        return (
            f"The input `{self.key}` must be {self.expected}, and some of its values do not fit {self.dtype.name}. "
            f"Received: {array.dtype.name} from {array.min()} to {array.max()}."
        )

    def _refuse_shape(self, shape: tuple[int, ...]) -> None:
        hint = ""
        if len(shape) == self.rank - 1:
            if self.info.shape[1:] == (1,):
                hint = " One value per row is [[1], [2]], not [1, 2]."
            elif all(size in (-1, given) for size, given in zip(self.info.shape[1:], shape, strict=True)):
                hint = " The batch dimension is missing: put one row into a list."
        raise ValueError(
            f"The input `{self.key}` must be {self.expected}, where -1 is any size. "
            f"Received: shape {list(shape)}.{hint}"
        )


def numbers_from(key: str, value: Any, expected: str) -> NDArray[Any]:
    """An array of whatever kind of numbers a value holds.

    Args:
        key: of the input, for errors.
        value: an array, a (nested) list, a tensor or a number.
        expected: what it must be, for errors.

    Raises:
        TypeError: it holds something else than numbers, or bools among numbers.
        ValueError: it is a list with rows of different lengths.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list | tuple):
        # As text, numpy would give every element the size of the longest one: a lot for what a stranger sent.
        items: list[Any] = np.asarray(value, dtype=object).reshape(-1).tolist()
        kinds = set(map(type, items))
        if not (kinds <= _NUMBERS or kinds == {bool}):
            _refuse_items(key, items, kinds, expected)
    return np.asarray(value)


def _refuse_items(key: str, items: list[Any], kinds: set[type], expected: str) -> None:
    for row, item in enumerate(items):
        if isinstance(item, list | tuple):
            raise ValueError(
                f"The input `{key}` must be {expected}, with rows of equal length. Received: row {row} is {item!r}."
            )
        if not isinstance(item, np.generic | int | float) or (isinstance(item, bool) and kinds != {bool}):
            raise TypeError(
                f"The input `{key}` must be {expected}. Received: {item!r} ({type(item).__name__}), element {row}."
            )


def strings_from(key: str, value: Any, as_text: bool) -> NDArray[Any]:
    """An object array of str (or of bytes, as serialised examples are), from arrays, lists, bytes or str."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    if array.dtype.kind == "S" and not as_text:
        raise TypeError(
            f"The input `{key}` must be an array of objects: NumPy's dtype S cuts off NULs at the end. "
            f"Received: dtype {array.dtype}. Use np.array(list_of_bytes, dtype=object)"
        )
    if array.dtype.kind not in "OUST":
        raise TypeError(f"The input `{key}` must hold strings. Received: {_numpy_name(array.dtype)}.")
    items: list[Any] = array.reshape(-1).tolist()
    wanted: type = str if as_text else bytes
    if array.dtype == object and all(type(item) is wanted for item in items):
        return array
    converted = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        if isinstance(item, list | tuple | np.ndarray):
            raise ValueError(f"The input `{key}` must have rows of equal length. Received: row {row} is {item!r}.")
        if not isinstance(item, str | bytes):
            raise TypeError(
                f"The input `{key}` must hold strings. Received: {item!r} ({type(item).__name__}), element {row}."
            )
        converted[row] = item if isinstance(item, wanted) else _recoded(key, row, item)
    return converted.reshape(array.shape)


def _recoded(key: str, row: int, item: str | bytes) -> str | bytes:
    if isinstance(item, str):
        return item.encode("utf-8", "surrogateescape")
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"The input `{key}` must hold text in UTF-8. Received: {item[:40]!r}, element {row} ({error.reason})."
        ) from None


def _numpy_name(dtype: np.dtype[Any]) -> str:
    return {"U": "text", "S": "bytes", "O": "objects", "b": "bool"}.get(dtype.kind, dtype.name)


def _first(array: NDArray[Any]) -> object:
    item: object = array.reshape(-1)[0] if array.size else None
    return item


def _exact_range(target: np.dtype[Any]) -> tuple[int, int]:
    """The smallest and largest integer between which all of them exist in a dtype."""
    if target.kind == "f":
        return -_LARGEST_EXACT[target.name], _LARGEST_EXACT[target.name]
    limits = np.iinfo(target)
    return int(limits.min), int(limits.max)


def shown(info: TensorInfo) -> str:
    return f"{'strings' if info.is_string else info.type.numpy.name} {list(info.shape)}"


def described(infos: Mapping[str, TensorInfo]) -> str:
    return ", ".join(f"{key!r} ({shown(info)})" for key, info in infos.items())


def suggestion(name: object, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), list(known), 1)
    return f". Did you mean {close[0]!r}?" if close else f". There are: {', '.join(map(repr, known))}."
