"""Python state as strict JSON that gives back exactly what was put in.

Strict JSON has no spelling for infinities, NaN and integers of thousands of digits; they are written as the objects
`{"__float__": "nan"}` and `{"__int__": "0x..."}`.
"""

import json
import math
from typing import Any

import numpy as np
from torch import Tensor

_FLOAT = "__float__"
_INT = "__int__"

# Python refuses to convert decimal text of more than 4300 digits; hexadecimal has no such limit.
_MAX_DECIMAL_BITS = 10_000


def encode(value: object, argument: str) -> bytes:
    """Encodes a value made of None, booleans, numbers, strings, lists and dicts with string keys.

    NumPy scalars are stored as the Python number of the same value. Everything else is refused, tuples too: JSON would
    give them back as lists.

    Args:
        value: What to encode.
        argument: How the caller's user calls `value`, for errors.

    Raises:
        TypeError: Something inside cannot be encoded; the message says where it is.
        ValueError: The value contains itself or uses a reserved key.
    """
    try:
        return json.dumps(_strict(value, argument), allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError(f"`{argument}` is nested too deeply, or contains itself") from error


def decode(data: bytes) -> Any:
    """Gives back the value that `encode` was given.

    Raises:
        ValueError: `data` is no JSON document.
    """
    return json.loads(data, object_hook=_restore)


def _strict(value: object, path: str) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in {bool, str}:
        return value
    if type(value) is int:
        return value if value.bit_length() <= _MAX_DECIMAL_BITS else {_INT: hex(value)}
    if type(value) is float:
        return value if math.isfinite(value) else {_FLOAT: str(value)}
    if type(value) is list:
        return [_strict(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if type(value) is dict:
        return {_checked_key(key, path): _strict(item, f"{path}[{key!r}]") for key, item in value.items()}
    raise TypeError(
        f"`{path}` cannot be stored in a checkpoint, which holds tensors and JSON only (None, bool, int, float, str, "
        f"list, dict with string keys); {_advice(value)}. Received: {value!r:.100} of type {type(value).__name__}"
    )


def _checked_key(key: object, path: str) -> str:
    if type(key) is not str:
        raise TypeError(
            f"the keys of `{path}` must be strings, as JSON has no others; store `str(key)`, or a list of "
            f"`[key, value]` pairs. Received: key {key!r} of type {type(key).__name__}"
        )
    if key in {_FLOAT, _INT}:
        raise ValueError(f"the key {key!r} in `{path}` is reserved for numbers that JSON cannot spell; use another one")
    return key


def _advice(value: object) -> str:
    if isinstance(value, Tensor):
        return "pass a tensor in `model` or `optimizer`, or write `tensor.tolist()`"
    if isinstance(value, np.ndarray):
        return "write `array.tolist()`"
    if isinstance(value, tuple | set | frozenset):
        return f"write `list(...)`, and turn it back into a {type(value).__name__} when loading"
    if isinstance(value, bytes | bytearray):
        return "write `value.hex()`"
    if isinstance(value, bool | int | float | str | list | dict):
        return f"a subclass would come back as its base: write `{_json_base(value)}(...)`"
    return "store what it is made of, and build it again when loading"


def _json_base(value: object) -> str:
    return next(kind.__name__ for kind in (int, float, str, list, dict) if isinstance(value, kind))


def _restore(document: dict[str, Any]) -> Any:
    if document.keys() == {_FLOAT}:
        return float(document[_FLOAT])
    if document.keys() == {_INT}:
        return int(document[_INT], 16)
    return document
