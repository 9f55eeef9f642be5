"""Reading batches of tf.Examples (`tf.io.parse_example`)."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from torchestimator.io.example_bulk import Spans, Values, decode_alike, form_of
from torchestimator.io.example_each import decode_each
from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature

_Array: TypeAlias = np.ndarray[Any, Any]
_Feature: TypeAlias = FixedLenFeature | VarLenFeature

_MIN_ALIKE = 64
"""Examples below which one after the other is as fast as in bulk."""
_MAX_FORMS = 4
"""How many examples are taken as a model for the others; what resembles none of them is decoded one by one."""


def parse_example(serialized: Sequence[bytes] | _Array, features: Mapping[str, _Feature]) -> dict[str, _Array]:
    """Decodes a batch of serialised tf.Examples.

    Args:
        serialized: the bytes of each example; an array must be [batch] of objects.
        features: what to decode, by feature name. Other features of the examples are skipped.

    Returns:
        By feature name, [batch, *shape] arrays of a FixedLenFeature and [batch, most values in this batch] ones of a
        VarLenFeature, padded as it says: float32, int64 or objects that are `str`.

    Raises:
        TypeError: `serialized` is no sequence of bytes, or `features` holds no feature specs.
        MalformedExampleError: an example is malformed, lacks a feature, or has another kind or number of values; the
            message names the feature and the row.
    """
    for name, feature in features.items():
        if not isinstance(feature, FixedLenFeature | VarLenFeature):
            raise TypeError(
                f"`features` must hold FixedLenFeature or VarLenFeature. Received for {name!r}: {feature!r}. "
                f'For example: {{"{name}": te.io.FixedLenFeature([1], torch.float32)}}'
            )
    batch = _batch(serialized)
    if len(batch) < _MIN_ALIKE:
        decoded = decode_each(batch, range(len(batch)), features)
    else:
        decoded = decode_spans(_joined(batch), features)
    return {name: shaped(decoded[name].array, feature) for name, feature in features.items()}


def decode_spans(examples: Spans, features: Mapping[str, _Feature]) -> dict[str, Values]:
    """Decodes serialised tf.Examples that lie in one buffer, as `parse_example` does.

    Args:
        examples: where they are.
        features: what to decode, by feature name.

    Returns:
        The values by feature name, each [examples, values], a FixedLenFeature's not yet in its shape.

    Raises:
        MalformedExampleError: as for `parse_example`.
    """
    rest = np.arange(len(examples.starts))
    parts: list[tuple[_Array, Mapping[str, Values]]] = []
    for attempt in range(_MAX_FORMS):
        if len(rest) < _MIN_ALIKE:
            break
        model = rest[len(rest) * attempt // _MAX_FORMS]
        form = form_of(examples.buffer[examples.starts[model] : examples.ends[model]].tobytes())
        if form is None:
            continue
        spans = Spans(examples.buffer, examples.starts[rest], examples.ends[rest])
        values, are_alike = decode_alike(spans, features, form)
        if are_alike.all():
            parts.append((rest, values))
        elif are_alike.any():
            chosen = {name: Values(each.array[are_alike], each.counts[are_alike]) for name, each in values.items()}
            parts.append((rest[are_alike], chosen))
        rest = rest[~are_alike]
    if len(rest) or not parts:
        buffer, starts, ends = examples
        each = [buffer[begin:end].tobytes() for begin, end in zip(starts[rest], ends[rest], strict=True)]
        parts.append((rest, decode_each(each, rest.tolist(), features)))
    return parts[0][1] if len(parts) == 1 else _merged(parts, features, len(examples.starts))  # type: ignore[return-value]


def _merged(
    parts: Sequence[tuple[_Array, Mapping[str, Values]]], features: Mapping[str, _Feature], count: int
) -> dict[str, Values]:
    """The values of all examples from those of groups of them."""
    merged = {}
    for name, feature in features.items():
        width = max(values[name].array.shape[1] for _, values in parts)
        array = np.full((count, width), feature.kind.padding, dtype=feature.kind.numpy)
        counts = np.empty(count, np.int64)
        for rows, values in parts:
            array[rows, : values[name].array.shape[1]] = values[name].array
            counts[rows] = values[name].counts
        merged[name] = Values(array, counts)
    return merged


def shaped(array: _Array, feature: _Feature) -> _Array:
    """The values of examples, [examples, values], as `parse_example` gives them: a FixedLenFeature's in its shape."""
    return array.reshape(len(array), *feature.shape) if isinstance(feature, FixedLenFeature) else array


def _joined(batch: Sequence[bytes]) -> Spans:
    ends = np.cumsum(np.fromiter(map(len, batch), np.int64, len(batch)))
    return Spans(np.frombuffer(b"".join(batch), np.uint8), np.concatenate([np.zeros(1, np.int64), ends[:-1]]), ends)


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
    for row, each in enumerate(serialized):
        if not isinstance(each, bytes):
            raise TypeError(f"`serialized` must hold bytes. Received in row {row}: {each!r} ({type(each).__name__}).")
    return serialized
