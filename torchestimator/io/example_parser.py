"""Reading batches of tf.Examples (`tf.io.parse_example`)."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from torchestimator.io.example_encoder import encode_feature
from torchestimator.io.example_message import decode_error, example_class, feature_class
from torchestimator.io.feature_spec import FixedLenFeature, Kind, VarLenFeature

_Array: TypeAlias = np.ndarray[Any, Any]
_Rows: TypeAlias = list[bytes | None]
"""A feature of each example: a serialised message `Feature`, or None where it is missing."""


def parse_example(
    serialized: Sequence[bytes] | _Array, features: Mapping[str, FixedLenFeature | VarLenFeature]
) -> dict[str, _Array]:
    """Decodes a batch of serialised tf.Examples.

    Args:
        serialized: the bytes of each example; an array must be [batch] of objects.
        features: what to decode, by feature name. Other features of the examples are skipped.

    Returns:
        By feature name, [batch, *shape] arrays of a FixedLenFeature and [batch, most values in this batch] ones of a
        VarLenFeature, padded as it says: float32, int64 or objects that are `str`.

    Raises:
        TypeError: `serialized` is no sequence of bytes, or `features` holds no feature specs.
        ValueError: an example is malformed, lacks a feature, or has another kind or number of values; the message
            names the feature and the row.
    """
    for name, feature in features.items():
        if not isinstance(feature, FixedLenFeature | VarLenFeature):
            raise TypeError(
                f"`features` must hold FixedLenFeature or VarLenFeature. Received for {name!r}: {feature!r}. "
                f'For example: {{"{name}": te.io.FixedLenFeature([1], torch.float32)}}'
            )
    columns = _columns(_batch(serialized), list(features))
    return {
        name: _fixed(name, feature, columns[name])
        if isinstance(feature, FixedLenFeature)
        else _padded(name, feature, columns[name])
        for name, feature in features.items()
    }


def _batch(serialized: Any) -> Any:
    advice = "Received: {}. For one example: parse_example([serialized], features)"
    if isinstance(serialized, np.ndarray):
        if serialized.dtype != object:
            raise TypeError(
                "`serialized` must be an array of objects: numpy's dtype S cuts off NULs at the end. "
                f"Received: dtype {serialized.dtype}. Use np.array(list_of_bytes, dtype=object)"
            )
        if serialized.ndim != 1:
            raise ValueError(f"`serialized` must be [batch]. {advice.format(f'shape {list(serialized.shape)}')}")
    elif isinstance(serialized, str | bytes) or not isinstance(serialized, Sequence):
        received = advice.format(type(serialized).__name__)
        raise TypeError(f"`serialized` must be a sequence of bytes, one for each example. {received}")
    return serialized


def _columns(batch: Iterable[Any], names: Sequence[str]) -> dict[str, _Rows]:
    parse, error_class = example_class().FromString, decode_error()
    columns: dict[str, _Rows] = {name: [] for name in names}
    pairs = list(columns.items())
    for row, serialized in enumerate(batch):
        if not isinstance(serialized, bytes):
            raise TypeError(
                f"`serialized` must hold bytes. Received in row {row}: {serialized!r} ({type(serialized).__name__})."
            )
        try:
            feature_of = parse(serialized).features.feature.get
        except error_class as error:
            raise ValueError(
                f"Row {row} of `serialized` is no tf.Example. Received: {len(serialized)} bytes that begin with "
                f"{serialized[:20]!r}. Make them with te.io.encode_example({{...}})"
            ) from error
        for name, rows in pairs:
            rows.append(feature_of(name))
    return columns


def _fixed(name: str, feature: FixedLenFeature, rows: _Rows) -> _Array:
    # A feature without values is missing, like one that is not there.
    missing = [row for row, serialized in enumerate(rows) if not serialized]
    if missing:
        if feature.values is None:
            raise ValueError(
                f"Row {missing[0]} of `serialized` lacks the feature {name!r}, which has no default. Send it, or give "
                f"it one: te.io.FixedLenFeature({list(feature.shape)}, {_written(feature.kind)}, default_value=...)"
            )
        default = encode_feature(name, np.array(feature.values, dtype=feature.kind.numpy))
        for row in missing:
            rows[row] = default
    shape = (len(rows), *feature.shape)
    floats = _packed_floats(rows, feature.size) if feature.kind.name == "float32" else None
    if floats is not None:
        return floats.reshape(shape)
    flat: list[Any] = []
    size = feature.size
    for row, values in enumerate(_values(name, feature.kind, rows)):
        if len(values) != size:
            raise ValueError(
                f"The feature {name!r} must have {feature.size} values, for the shape {list(feature.shape)}. "
                f"Received in row {row}: {len(values)}. Where their number varies, declare it as "
                f"te.io.VarLenFeature({_written(feature.kind)})"
            )
        flat.extend(values)
    return np.array(flat, dtype=feature.kind.numpy).reshape(shape)


def _padded(name: str, feature: VarLenFeature, rows: _Rows) -> _Array:
    kind = feature.kind
    lists = [list(values) for values in _values(name, kind, rows)]
    lengths = np.array(list(map(len, lists)), dtype=np.int64)
    padded = np.full((len(lists), int(lengths.max(initial=0))), kind.padding, dtype=kind.numpy)
    flat = np.array([value for values in lists for value in values], dtype=kind.numpy)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded


def _packed_floats(rows: _Rows, size: int) -> _Array | None:
    """The floats of all rows, read in bulk from the form that all writers use; None where a row has another one."""
    head = _head_of_floats(size)
    length = len(head) + 4 * size
    present = [row for row in rows if row is not None and len(row) == length]
    if len(present) != len(rows):
        return None
    table = np.frombuffer(b"".join(present), dtype=np.uint8).reshape(len(rows), length)
    if table[:, : len(head)].tobytes() != head * len(rows):
        return None
    return table[:, len(head) :].copy().view("<f4").astype(np.float32, copy=False)


@functools.lru_cache
def _head_of_floats(size: int) -> bytes:
    """What a serialised `Feature` begins with before the bytes of so many floats."""
    head = b"\x0a" + _varint(4 * size)  # FloatList, field 1: bytes of floats
    return b"\x12" + _varint(len(head) + 4 * size) + head  # Feature, field 2: a FloatList


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _values(name: str, kind: Kind, rows: _Rows) -> Iterable[Sequence[Any]]:
    parse, error_class = feature_class().FromString, decode_error()
    for row, serialized in enumerate(rows):
        if not serialized:
            yield ()
            continue
        try:
            feature = parse(serialized)
        except error_class as error:
            raise ValueError(
                f"The feature {name!r} in row {row} of `serialized` is malformed. "
                f"Received: {len(serialized)} bytes that begin with {serialized[:20]!r}."
            ) from error
        values = getattr(feature, kind.field).value
        if not values and feature.WhichOneof("kind") != kind.field:
            found = feature.WhichOneof("kind")
            raise ValueError(
                f"The feature {name!r} must be a {kind.field}, of {kind.name}. "
                f"Received in row {row}: {'nothing known' if found is None else f'a {found}'}. {_ADVICE[kind.name]}"
            )
        yield _texts(name, row, values) if kind.name == "string" else values


_ADVICE = {
    "float32": "Write numbers with a decimal point: te.io.encode_example({...: 1.0})",
    "int64": "Write whole numbers: te.io.encode_example({...: 1})",
    "string": "Write strings: te.io.encode_example({...: 'red'})",
}


def _texts(name: str, row: int, values: Iterable[bytes]) -> list[str]:
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"The feature {name!r} must be text in UTF-8. Received in row {row}: {error.object!r} ({error.reason})."
        ) from error


def _written(kind: Kind) -> str:
    return "str" if kind.name == "string" else f"torch.{kind.name}"
