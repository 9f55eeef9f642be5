"""Tensors as bytes: the binary tensor data extension of the Open Inference Protocol v2."""

import math
import struct

import numpy as np
from numpy.typing import NDArray

from torchestimator.export.tensor_info import DATA_TYPES
from torchestimator.serving.request_error import RequestError

BYTES = "BYTES"

NUMPY_DTYPES = {each.open_inference: each.numpy for each in DATA_TYPES.values()} | {
    f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (16, 32, 64)
}
"""NumPy's dtype of each datatype of the protocol; unsigned ones have no entry of their own in signatures."""

_LENGTH = struct.Struct("<I")


def read_tensor(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> NDArray[np.generic]:
    """The array that bytes stand for.

    Args:
        name: for errors.
        datatype: of the protocol.
        shape: of the array.
        data: numbers as they lie in memory, little endian; strings each after its length in four bytes.

    Raises:
        RequestError: they are too few or too many for the shape.
    """
    count = math.prod(shape)
    if datatype == BYTES:
        strings = _read_strings(name, data)
        if len(strings) != count:
            raise RequestError(
                400, f'The input "{name}" has {len(strings)} strings in its binary data, and shape {list(shape)}.'
            )
        array = np.empty(count, dtype=object)
        array[:] = strings
        return array.reshape(shape)
    dtype = NUMPY_DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise RequestError(
            400,
            f'The input "{name}" has {len(data)} bytes of binary data; {datatype} of shape {list(shape)} '
            f"takes {count * dtype.itemsize}.",
        )
    numbers = np.frombuffer(data, dtype=dtype).reshape(shape)
    return numbers if numbers.flags.aligned else numbers.copy()


def _read_strings(name: str, data: memoryview) -> list[bytes]:
    strings: list[bytes] = []
    at = 0
    while at < len(data):
        begin = at + _LENGTH.size
        end = begin + _LENGTH.unpack_from(data, at)[0] if begin <= len(data) else len(data) + 1
        if end > len(data):
            raise RequestError(
                400,
                f'The binary data of the input "{name}" ends inside of its string {len(strings)}: '
                "each string comes after its length in four bytes, little endian.",
            )
        strings.append(bytes(data[begin:end]))
        at = end
    return strings


def write_tensor(array: NDArray[np.generic]) -> bytes:
    """The bytes of an array, as `read_tensor` reads them."""
    if array.dtype != object:
        return array.tobytes()
    parts = []
    for item in array.reshape(-1).tolist():
        encoded = item.encode("utf-8") if isinstance(item, str) else item
        parts += [_LENGTH.pack(len(encoded)), encoded]
    return b"".join(parts)
