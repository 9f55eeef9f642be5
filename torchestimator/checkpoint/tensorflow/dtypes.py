"""TensorFlow's dtypes by their numbers in files (tensorflow/core/framework/types.proto)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMPY = {
    1: "f4",
    2: "f8",
    3: "i4",
    4: "u1",
    5: "i2",
    6: "i1",
    8: "c8",
    9: "i8",
    10: "?",
    17: "u2",
    18: "c16",
    19: "f2",
    22: "u4",
    23: "u8",
}
STRING = 7
BFLOAT16 = 14
_OTHERS = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource", 21: "variant"}


def numpy_dtype(number: int) -> np.dtype[Any]:
    """The dtype of the array that a tensor becomes.

    bfloat16, which numpy lacks, becomes float32, exactly; strings become objects that are bytes.

    Raises:
        ValueError: numpy has nothing like it.
    """
    if number == STRING:
        return np.dtype(object)
    if number == BFLOAT16:
        return np.dtype(np.float32)
    if number not in _NUMPY:
        name = _OTHERS.get(number, f"of the number {number}")
        raise ValueError(f"has the dtype {name}, which is not supported")
    return np.dtype(_NUMPY[number])


def element_size(number: int) -> int:
    """Bytes of one element in the file; strings have no fixed size."""
    return 2 if number == BFLOAT16 else numpy_dtype(number).itemsize


def to_array(number: int, data: NDArray[np.uint8], is_little_endian: bool) -> NDArray[Any]:
    """The numbers of a tensor, [n], from its bytes, in memory of their own.

    Args:
        number: the dtype, any but strings.
        data: the bytes.
        is_little_endian: their order.
    """
    dtype = np.dtype(np.uint16) if number == BFLOAT16 else numpy_dtype(number)
    values = data.view(dtype.newbyteorder("<" if is_little_endian else ">"))
    if number == BFLOAT16:
        bits: NDArray[np.uint32] = values.astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
    return values.astype(dtype)
