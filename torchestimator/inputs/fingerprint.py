"""FarmHash Fingerprint64 of whole string arrays: the 64-bit string ids that TensorFlow uses.

Strings become numbers once, on the host, before a batch reaches the model; hash buckets, vocabularies and crosses are
then integer arithmetic on any device and give the ids a TensorFlow model gives. The algorithm is Fingerprint64 of
Google's FarmHash (Geoff Pike, 2014; `farmhashna::Hash64` in https://github.com/google/farmhash). It is written here as
numpy arithmetic over blocks of strings of the same length class: 0, 1-3, 4-7, 8-16, 17-32, 33-64 and longer.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchestimator.inputs.column import is_missing

_U64 = NDArray[np.uint64]
_Pair = tuple[_U64, _U64]

_K0 = np.uint64(0xC3A5C85C97CB3127)
_K1 = np.uint64(0xB492B66FBE98F273)
_K2 = np.uint64(0x9AE16A3B2F90404F)

_BLOCK = 8192
"""Strings hashed together: the temporaries of a block (64 KiB each) stay in the second-level cache."""

_str_len = np.strings.str_len if hasattr(np, "strings") else np.char.str_len  # np.char counts in Python before numpy 2


def fingerprint64(strings: object, *, name: str = "strings") -> NDArray[np.int64]:
    """Returns FarmHash Fingerprint64 of every string, the unsigned value reinterpreted as int64.

    Text is hashed as its UTF-8 bytes, `bytes` as they are. numpy's fixed-width arrays (`S`, `U`) end at their last
    non-NUL character, as everywhere in numpy.

    Args:
        strings: an array of dtype `S`, `U`, `StringDType` or object holding `str` or `bytes`; a pandas string,
            Arrow or categorical column; or a (nested, rectangular) list of strings.
        name: how error messages call the argument.

    Returns:
        int64 array of the shape of `strings`; `value % n` on the unsigned value is TensorFlow's hash bucket.

    Raises:
        TypeError: if an element is missing (`None`, NaN) or is no string; the message gives its position.
        ValueError: if a text cannot be written as UTF-8 (lone surrogates).
    """
    categories = getattr(getattr(strings, "dtype", None), "categories", None)
    if categories is not None:
        return _categorical(strings, np.asarray(categories, dtype=object), name)
    array = strings if isinstance(strings, np.ndarray) else np.asarray(strings, dtype=object)
    out = np.empty(array.size, dtype=np.uint64)
    if array.dtype.kind == "S":
        blocks = _byte_blocks(array)
    elif array.dtype.kind == "U":
        blocks = _unicode_blocks(array, name)
    elif array.dtype.kind in "OT":
        blocks = _object_blocks(array, name)
    else:
        raise TypeError(f"`{name}` must hold str or bytes. Received: an array of dtype {array.dtype}.")
    done = 0
    for data, starts, lengths in blocks:
        out[done : done + lengths.size] = _hash_block(data, starts, lengths)
        done += lengths.size
    values: NDArray[np.int64] = out.view(np.int64).reshape(array.shape)
    return values


# From arrays to blocks of (bytes, where each string starts, how long it is). --------------------------------------

_Blocks = Iterator[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]


def _categorical(column: Any, categories: NDArray[Any], name: str) -> NDArray[np.int64]:
    codes = np.asarray(column.cat.codes if hasattr(column, "cat") else column.codes)
    if codes.size and codes.min() < 0:
        raise _not_a_string(name, (int(codes.argmin()),), None)
    return fingerprint64(categories, name=name).take(codes)


def _byte_blocks(array: NDArray[Any]) -> _Blocks:
    flat = np.ascontiguousarray(array).reshape(-1)
    width = flat.dtype.itemsize
    for begin in range(0, flat.size, _BLOCK):
        block = flat[begin : begin + _BLOCK]
        starts = np.arange(block.size, dtype=np.int64) * width
        yield _bytes_of(block), starts, _str_len(block).astype(np.int64, copy=False)


def _unicode_blocks(array: NDArray[Any], name: str) -> _Blocks:
    flat = np.ascontiguousarray(array).reshape(-1)
    if not flat.dtype.isnative:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    width = flat.dtype.itemsize // 4
    for begin in range(0, flat.size, _BLOCK):
        block = flat[begin : begin + _BLOCK]
        codes = _bytes_of(block).view(np.uint32)
        narrow = codes.astype(np.uint8)
        starts = np.arange(block.size, dtype=np.int64) * width
        lengths = _str_len(block).astype(np.int64, copy=False)
        if codes.size and codes.max() > 0x7F:
            wide = np.flatnonzero((codes.reshape(block.size, width) > 0x7F).any(axis=1))
            encoded = [_encode(text, name, array.shape, begin + row) for row, text in _pairs(wide, block)]
            lengths[wide] = list(map(len, encoded))
            starts[wide] = narrow.size + np.cumsum(lengths[wide]) - lengths[wide]
            narrow = np.concatenate([narrow, np.frombuffer(b"".join(encoded), dtype=np.uint8)])
        yield narrow, starts, lengths


def _object_blocks(array: NDArray[Any], name: str) -> _Blocks:
    flat = array.reshape(-1)
    for begin in range(0, flat.size, _BLOCK):
        items: list[Any] = flat[begin : begin + _BLOCK].tolist()
        try:
            text = "".join(items)
        except TypeError:  # not all of them are str
            text = None
        if text is not None and text.isascii():
            data, encoded = text.encode("ascii"), items
        else:
            encoded = [_encode(item, name, array.shape, begin + row) for row, item in enumerate(items)]
            data = b"".join(encoded)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        yield np.frombuffer(data, dtype=np.uint8), np.cumsum(lengths) - lengths, lengths


def _bytes_of(block: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ndarray((block.size * block.dtype.itemsize,), dtype=np.uint8, buffer=block)


def _pairs(rows: NDArray[np.int64], block: NDArray[Any]) -> Iterator[tuple[int, str]]:
    return zip(rows.tolist(), block[rows].tolist(), strict=True)


def _encode(item: object, name: str, shape: Sequence[int], row: int) -> bytes:
    if isinstance(item, bytes):
        return item
    position = tuple(int(i) for i in np.unravel_index(row, shape))
    if not isinstance(item, str):
        raise _not_a_string(name, position, item)
    try:
        return item.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"`{name}` holds text that cannot be written as UTF-8, at position {_show(position)}. "
            f"Received: {item!r} ({error.reason})."
        ) from error


def _not_a_string(name: str, position: tuple[int, ...], item: object) -> TypeError:
    message = f"`{name}` must hold only str or bytes, but the element at position {_show(position)} is not. "
    if is_missing(item):
        return TypeError(
            f"{message}Received: {item!r}. A missing value has no fingerprint; replace it first, "
            'for example `column = column.fillna("")`: the empty string means "missing" to feature columns.'
        )
    return TypeError(f"{message}Received: {item!r} ({type(item).__name__}).")


def _show(position: tuple[int, ...]) -> str:
    return str(position[0]) if len(position) == 1 else str(position)


# The hash. Names are those of the algorithm's description: a, b, c, ... are 64-bit lanes. --------------------------


class _Reader:
    """Loads little-endian words at arbitrary byte offsets of one buffer, for many strings at once."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._bytes = data
        self._words32 = _overlapping(data, "<u4")
        self._words64 = _overlapping(data, "<u8")

    def u8(self, at: NDArray[np.int64]) -> _U64:
        return self._bytes[at].astype(np.uint64)

    def u32(self, at: NDArray[np.int64]) -> _U64:
        return self._words32[at].astype(np.uint64)

    def u64(self, at: NDArray[np.int64]) -> _U64:
        return self._words64[at].astype(np.uint64, copy=False)


def _overlapping(data: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    count = max(0, data.size + 1 - np.dtype(dtype).itemsize)
    return np.ndarray((count,), dtype=dtype, buffer=data, strides=(1,))


def _hash_block(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> _U64:
    reader = _Reader(data)
    classes = np.searchsorted(_LONGEST, lengths)
    present = np.flatnonzero(np.bincount(classes, minlength=len(_HASHES)))
    if present.size == 1:
        return _HASHES[int(present[0])](reader, starts, lengths)
    out = np.empty(lengths.size, dtype=np.uint64)
    for index in present.tolist():
        rows = np.flatnonzero(classes == index)
        out[rows] = _HASHES[index](reader, starts[rows], lengths[rows])
    return out


def _rotate(x: _U64, count: int) -> _U64:
    return (x >> np.uint64(count)) | (x << np.uint64(64 - count))


def _shift_mix(x: _U64) -> _U64:
    return x ^ (x >> np.uint64(47))


def _hash_pair(u: _U64, v: _U64, mul: _U64) -> _U64:
    a = _shift_mix((u ^ v) * mul)
    return _shift_mix((v ^ a) * mul) * mul


def _multiplier(lengths: NDArray[np.int64]) -> _U64:
    return (lengths.astype(np.uint64) << np.uint64(1)) + _K2


def _hash_0(_reader: _Reader, starts: NDArray[np.int64], _lengths: NDArray[np.int64]) -> _U64:
    return np.full(starts.size, _K2)


def _hash_1_to_3(reader: _Reader, s: NDArray[np.int64], n: NDArray[np.int64]) -> _U64:
    y = reader.u8(s) + (reader.u8(s + (n >> 1)) << np.uint64(8))
    z = n.astype(np.uint64) + (reader.u8(s + n - 1) << np.uint64(2))
    return _shift_mix((y * _K2) ^ (z * _K0)) * _K2


def _hash_4_to_7(reader: _Reader, s: NDArray[np.int64], n: NDArray[np.int64]) -> _U64:
    a = n.astype(np.uint64) + (reader.u32(s) << np.uint64(3))
    return _hash_pair(a, reader.u32(s + n - 4), _multiplier(n))


def _hash_8_to_16(reader: _Reader, s: NDArray[np.int64], n: NDArray[np.int64]) -> _U64:
    mul = _multiplier(n)
    a = reader.u64(s) + _K2
    b = reader.u64(s + n - 8)
    c = _rotate(b, 37) * mul + a
    d = (_rotate(a, 25) + b) * mul
    return _hash_pair(c, d, mul)


def _hash_17_to_32(reader: _Reader, s: NDArray[np.int64], n: NDArray[np.int64]) -> _U64:
    mul = _multiplier(n)
    a = reader.u64(s) * _K1
    b = reader.u64(s + 8)
    c = reader.u64(s + n - 8) * mul
    d = reader.u64(s + n - 16) * _K2
    return _hash_pair(_rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + _K2, 18) + c, mul)


def _hash_33_to_64(reader: _Reader, s: NDArray[np.int64], n: NDArray[np.int64]) -> _U64:
    mul = _multiplier(n)
    a = reader.u64(s) * _K2
    b = reader.u64(s + 8)
    c = reader.u64(s + n - 8) * mul
    d = reader.u64(s + n - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _hash_pair(y, a + _rotate(b + _K2, 18) + c, mul)
    e = reader.u64(s + 16) * mul
    f = reader.u64(s + 24)
    g = (y + reader.u64(s + n - 32)) * mul
    h = (z + reader.u64(s + n - 24)) * mul
    return _hash_pair(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _weak_hash_32(reader: _Reader, s: NDArray[np.int64], a: _U64, b: _U64) -> _Pair:
    """Mixes 32 bytes into the seeds (a, b) (`WeakHashLen32WithSeeds`)."""
    a = a + reader.u64(s)
    z = reader.u64(s + 24)
    b = _rotate(b + a + z, 21)
    c = a
    a = a + reader.u64(s + 8) + reader.u64(s + 16)
    return a + z, b + _rotate(a, 44) + c


def _hash_long(reader: _Reader, s: NDArray[np.int64], n: NDArray[np.int64]) -> _U64:
    """Strings of more than 64 bytes: 64-byte rounds, longest strings first so that the active ones are a prefix."""
    rounds = (n - 1) >> 6
    order = np.argsort(-rounds, kind="stable")
    s, n, rounds = s[order], n[order], rounds[order]
    x = np.full(n.size, 81, dtype=np.uint64)
    y = x * _K1 + np.uint64(113)
    z = _shift_mix(y * _K2 + np.uint64(113)) * _K2
    v = (np.zeros_like(x), np.zeros_like(x))
    w = (np.zeros_like(x), np.zeros_like(x))
    x = x * _K2 + reader.u64(s)
    state = [x, y, z, *v, *w]
    for index in range(int(rounds[0])):
        active = int(np.searchsorted(-rounds, -index))  # those with more than `index` rounds
        at = s[:active] + 64 * index
        for lane, value in zip(state, _round(reader, at, [lane[:active] for lane in state]), strict=True):
            lane[:active] = value
    out = np.empty(n.size, dtype=np.uint64)
    out[order] = _finish_long(reader, s + n - 64, (n - 1) & 63, state)
    return out


def _round(reader: _Reader, s: NDArray[np.int64], state: list[_U64]) -> list[_U64]:
    x, y, z, v0, v1, w0, w1 = state
    x = _rotate(x + y + v0 + reader.u64(s + 8), 37) * _K1
    y = _rotate(y + v1 + reader.u64(s + 48), 42) * _K1
    x = x ^ w1
    y = y + v0 + reader.u64(s + 40)
    z = _rotate(z + w0, 33) * _K1
    v0, v1 = _weak_hash_32(reader, s, v1 * _K1, x + w0)
    w0, w1 = _weak_hash_32(reader, s + 32, z + w1, y + reader.u64(s + 16))
    return [z, y, x, v0, v1, w0, w1]


def _finish_long(reader: _Reader, s: NDArray[np.int64], rest: NDArray[np.int64], state: list[_U64]) -> _U64:
    x, y, z, v0, v1, w0, w1 = state
    nine = np.uint64(9)
    mul = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w0 = w0 + rest.astype(np.uint64)
    v0 = v0 + w0
    w0 = w0 + v0
    x = _rotate(x + y + v0 + reader.u64(s + 8), 37) * mul
    y = _rotate(y + v1 + reader.u64(s + 48), 42) * mul
    x = x ^ (w1 * nine)
    y = y + v0 * nine + reader.u64(s + 40)
    z = _rotate(z + w0, 33) * mul
    v0, v1 = _weak_hash_32(reader, s, v1 * mul, x + w0)
    w0, w1 = _weak_hash_32(reader, s + 32, z + w1, y + reader.u64(s + 16))
    return _hash_pair(_hash_pair(v0, w0, mul) + _shift_mix(y) * _K0 + x, _hash_pair(v1, w1, mul) + z, mul)


_LONGEST = np.array([0, 3, 7, 16, 32, 64])
_HASHES: tuple[Callable[[_Reader, NDArray[np.int64], NDArray[np.int64]], _U64], ...] = (
    _hash_0,
    _hash_1_to_3,
    _hash_4_to_7,
    _hash_8_to_16,
    _hash_17_to_32,
    _hash_33_to_64,
    _hash_long,
)
"""The hash of each length class: class i holds the lengths up to and including `_LONGEST[i]`."""
