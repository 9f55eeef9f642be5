"""tf.Examples decoded one by one, with the parser of protocol buffers: any form that is allowed, and every error."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from torchestimator.io.example_bulk import Values, varint
from torchestimator.io.example_encoder import encode_feature
from torchestimator.io.example_message import decode_error, example_class, feature_class
from torchestimator.io.feature_spec import FixedLenFeature, Kind, VarLenFeature

_Array: TypeAlias = np.ndarray[Any, Any]
_Rows: TypeAlias = list[bytes | None]
"""A feature of each example: a serialised message `Feature`, or None where it is missing."""


class MalformedExampleError(ValueError):
    """A serialised example is none, or not of the kind that was declared.

    Args:
        row: its place in the batch.
        message: what is wrong with it.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def decode_each(
    batch: Sequence[bytes], numbers: Sequence[int], features: Mapping[str, FixedLenFeature | VarLenFeature]
) -> dict[str, Values]:
    """Decodes serialised tf.Examples one by one.

    Args:
        batch: the bytes of each.
        numbers: their places in the whole batch, for errors.
        features: what to decode, by feature name.

    Raises:
        MalformedExampleError: an example is malformed, lacks a feature, or has another kind or number of values.
    """
    columns = _columns(batch, numbers, features)
    return {
        name: _fixed(name, feature, columns[name], numbers)
        if isinstance(feature, FixedLenFeature)
        else _padded(name, feature, columns[name], numbers)
        for name, feature in features.items()
    }


def _columns(batch: Sequence[bytes], numbers: Sequence[int], names: Iterable[str]) -> dict[str, _Rows]:
    parse, error_class = example_class().FromString, decode_error()
    columns: dict[str, _Rows] = {name: [] for name in names}
    pairs = list(columns.items())
    for row, serialized in zip(numbers, batch, strict=True):
        try:
            feature_of = parse(serialized).features.feature.get
        except error_class as error:
            raise MalformedExampleError(
                row,
                f"Row {row} of `serialized` is no tf.Example. Received: {len(serialized)} bytes that begin with "
                f"{serialized[:20]!r}. Make them with te.io.encode_example({{...}})",
            ) from error
        for name, rows in pairs:
            rows.append(feature_of(name))
    return columns


def _fixed(name: str, feature: FixedLenFeature, rows: _Rows, numbers: Sequence[int]) -> Values:
    # A feature without values is missing, like one that is not there.
    missing = [index for index, serialized in enumerate(rows) if not serialized]
    if missing:
        if feature.values is None:
            row = numbers[missing[0]]
            raise MalformedExampleError(
                row,
                f"Row {row} of `serialized` lacks the feature {name!r}, which has no default. Send it, or give "
                f"it one: te.io.FixedLenFeature({list(feature.shape)}, {_written(feature.kind)}, default_value=...)",
            )
        default = encode_feature(name, np.array(feature.values, dtype=feature.kind.numpy))
        for index in missing:
            rows[index] = default
    size = feature.size
    counts = np.full(len(rows), size)
    floats = _packed_floats(rows, size) if feature.kind.name == "float32" else None
    if floats is not None:
        return Values(floats, counts)
    flat: list[Any] = []
    for row, values in zip(numbers, _values(name, feature.kind, rows, numbers), strict=True):
        if len(values) != size:
            raise MalformedExampleError(
                row,
                f"The feature {name!r} must have {size} values, for the shape {list(feature.shape)}. "
                f"Received in row {row}: {len(values)}. Where their number varies, declare it as "
                f"te.io.VarLenFeature({_written(feature.kind)})",
            )
        flat.extend(values)
    return Values(np.array(flat, dtype=feature.kind.numpy).reshape(len(rows), size), counts)


def _padded(name: str, feature: VarLenFeature, rows: _Rows, numbers: Sequence[int]) -> Values:
    kind = feature.kind
    lists = [list(values) for values in _values(name, kind, rows, numbers)]
    counts = np.array(list(map(len, lists)), dtype=np.int64)
    padded = np.full((len(lists), int(counts.max(initial=0))), kind.padding, dtype=kind.numpy)
    flat = np.array([value for values in lists for value in values], dtype=kind.numpy)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = flat
    return Values(padded, counts)


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
    head = b"\x0a" + varint(4 * size)  # FloatList, field 1: bytes of floats
    return b"\x12" + varint(len(head) + 4 * size) + head  # Feature, field 2: a FloatList


def _values(name: str, kind: Kind, rows: _Rows, numbers: Sequence[int]) -> Iterable[Sequence[Any]]:
    parse, error_class = feature_class().FromString, decode_error()
    for row, serialized in zip(numbers, rows, strict=True):
        if not serialized:
            yield ()
            continue
        try:
            feature = parse(serialized)
        except error_class as error:
            raise MalformedExampleError(
                row,
                f"The feature {name!r} in row {row} of `serialized` is malformed. "
                f"Received: {len(serialized)} bytes that begin with {serialized[:20]!r}.",
            ) from error
        values = getattr(feature, kind.field).value
        if not values and feature.WhichOneof("kind") != kind.field:
            found = feature.WhichOneof("kind")
            raise MalformedExampleError(
                row,
                f"The feature {name!r} must be a {kind.field}, of {kind.name}. "
                f"Received in row {row}: {'nothing known' if found is None else f'a {found}'}. {_ADVICE[kind.name]}",
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
        raise MalformedExampleError(
            row,
            f"The feature {name!r} must be text in UTF-8. Received in row {row}: {error.object!r} ({error.reason}).",
        ) from error


def _written(kind: Kind) -> str:
    return "str" if kind.name == "string" else f"torch.{kind.name}"
