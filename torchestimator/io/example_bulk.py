"""Many tf.Examples decoded at once: numpy reads their bytes in lockstep.

Whoever writes a file of examples writes them all alike: the same features in the same order, numbers packed. So the
wire format (https://protobuf.dev/programming-guides/encoding) is walked once, with an array of positions, one for each
example, instead of one position: every tag is compared and every length read for all examples in a few calls. Nothing
is assumed that is not checked: an example that is written differently is left to the parser of protocol buffers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature

Buffer: TypeAlias = NDArray[np.uint8]
_Rows: TypeAlias = NDArray[np.bool_]
_Places: TypeAlias = NDArray[np.int64]

_MAX_LENGTH_BYTES = 4
"""Of a length; longer features are left to the parser."""
_LIST_TAGS = {"string": 0x0A, "float32": 0x12, "int64": 0x1A}
"""Of the fields of the message `Feature`."""


class Values(NamedTuple):
    """The values of one feature in some examples."""

    array: NDArray[Any]
    """[examples, values of an example]; rows of fewer values are filled up with the feature's padding."""
    counts: _Places
    """[examples] how many of them are values."""


class Spans(NamedTuple):
    """Byte ranges of one buffer."""

    buffer: Buffer
    """[bytes]."""
    starts: _Places
    """[ranges] the first byte of each."""
    ends: _Places
    """[ranges] the byte after the last of each."""


class Form(NamedTuple):
    """How an example is written that is a model for others."""

    example: bytes
    """Its bytes."""
    fields: dict[str, tuple[int, int, int]]
    """Where in them each feature's entry begins, its message `Feature` begins, and both end; in their order."""


def form_of(example: bytes) -> Form | None:
    """How an example is written; None if it is written in an unusual form."""
    fields: dict[str, tuple[int, int, int]] = {}
    count = 0
    try:
        begin, end = _field(example, 0, 0x0A)
        while begin < end:
            entry, entry_end = _field(example, begin, 0x0A)
            key, key_end = _field(example, entry, 0x0A)
            feature, feature_end = _field(example, key_end, 0x12)
            if feature_end != entry_end:
                return None
            fields[example[key:key_end].decode()] = begin, feature, feature_end
            begin = entry_end
            count += 1
    except (ValueError, IndexError):
        return None
    return Form(example, fields) if begin == end == len(example) and len(fields) == count else None


def decode_alike(
    examples: Spans, features: Mapping[str, FixedLenFeature | VarLenFeature], form: Form
) -> tuple[dict[str, Values], _Rows]:
    """Decodes those examples that have the same features in the same order as a model, in the form all writers use.

    Args:
        examples: the serialised examples.
        features: what to decode. One that the model lacks is missing, and has its default.
        form: of the model.

    Returns:
        The values by feature name, and [examples] which of the examples were decoded; the values of the others are
        undefined. None are where one of `features` is missing that has no default.
    """
    missing = {name: feature for name, feature in features.items() if name not in form.fields}
    none = np.zeros(len(examples.starts), dtype=bool)
    if any(isinstance(feature, FixedLenFeature) and feature.values is None for feature in missing.values()):
        return {}, none
    found, are_alike = _walk(examples, form, set(features))
    if not are_alike.any():
        return {}, none
    decoded = {}
    for name, feature in features.items():
        if name in missing:
            decoded[name] = _default(feature, len(none))
            continue
        _, begin, end = form.fields[name]
        decoded[name], are_alike = _decode(found[name], feature, form.example[begin:end], are_alike)
    return decoded, are_alike


def _field(message: bytes, position: int, tag: int) -> tuple[int, int]:
    """Where the field of that tag at a position begins and ends."""
    if message[position] != tag:
        raise ValueError(f"no field of the tag {tag}")
    length = shift = 0
    while True:
        position += 1
        byte = message[position]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return position + 1, position + 1 + length


def _walk(examples: Spans, form: Form, wanted: set[str]) -> tuple[dict[str, Spans], _Rows]:
    """Where the wanted features of the examples are, and which examples have exactly the model's keys in its order."""
    buffer, starts, ends = examples
    cursor, end, fits = _message(buffer, starts, 0x0A)
    fits = fits & (end == ends)
    found = {}
    for key, (model_begin, model_feature, model_end) in form.fields.items():
        if (_begins_with(buffer, cursor, form.example[model_begin:model_feature]) | ~fits).all():
            # All as long as the model's: most are, and this is a quarter of the work.
            begin, end = cursor + (model_feature - model_begin), cursor + (model_end - model_begin)
        else:
            name = key.encode()
            entry, end, is_entry = _message(buffer, cursor, 0x0A)
            prefix = b"\x0a" + varint(len(name)) + name
            is_key = _begins_with(buffer, entry, prefix)
            begin, feature_end, is_feature = _message(buffer, entry + len(prefix), 0x12)
            fits = fits & is_entry & is_key & is_feature & (feature_end == end)
        if key in wanted:
            found[key] = Spans(buffer, begin, end)
        cursor = end
    return found, fits & (cursor == ends)


def _message(buffer: Buffer, positions: _Places, tag: int) -> tuple[_Places, _Places, _Rows]:
    """Where the fields of that tag begin and end whose own bytes begin at `positions`, and which do have this tag."""
    fits = buffer.take(positions, mode="clip") == tag
    # Positions beyond the buffer read its last byte: such examples fail when ends are compared.
    byte = buffer.take(positions + 1, mode="clip")
    begins = positions + 2
    if byte.max(initial=0) < 0x80:
        return begins, begins + byte, fits
    length = (byte & 0x7F).astype(np.int64)
    for place in range(1, _MAX_LENGTH_BYTES):
        goes_on = byte >= 0x80
        byte = np.where(goes_on, buffer.take(begins, mode="clip"), 0)
        length |= (byte & 0x7F).astype(np.int64) << (7 * place)
        begins = begins + goes_on
    return begins, begins + length, fits & (byte < 0x80)


def _begins_with(buffer: Buffer, positions: _Places, prefix: bytes) -> _Rows:
    """Which of the positions have these bytes."""
    # numpy compares byte strings much faster than rows of bytes; it ignores zeros at the end, of which strings of one
    # width that are equal otherwise have as many.
    same: _Rows = _windows(buffer, positions, len(prefix)).view(f"S{len(prefix)}")[:, 0] == prefix
    return same


def _windows(buffer: Buffer, positions: _Places, width: int) -> Buffer:
    """[positions, width] the bytes at each position, copied; those beyond the buffer are undefined."""
    last = len(buffer) - width
    if last < 0:
        return np.zeros((len(positions), width), np.uint8)
    items: NDArray[np.void] = np.ndarray((last + 1,), f"V{width}", buffer, strides=(1,))
    # `take` would copy the whole of these overlapping items first.
    return items[np.minimum(positions, last)].view(np.uint8).reshape(len(positions), width)


def _default(feature: FixedLenFeature | VarLenFeature, count: int) -> Values:
    """The values of a feature that none of `count` examples has."""
    values = (feature.values or ()) if isinstance(feature, FixedLenFeature) else ()
    row = np.array(values, dtype=feature.kind.numpy)
    return Values(np.tile(row, (count, 1)), np.full(count, len(values)))


def _decode(
    spans: Spans, feature: FixedLenFeature | VarLenFeature, model: bytes, are_alike: _Rows
) -> tuple[Values, _Rows]:
    """The values of a feature, and in which of the examples it is in the usual form and of the right size.

    Args:
        spans: its message `Feature` in each example.
        feature: what it must be.
        model: the message of the example that is the model.
        are_alike: [examples] which of them are to be decoded.
    """
    kind = feature.kind.name
    tag = _LIST_TAGS[kind]
    if kind == "string":
        begins, ends, fits = _message(spans.buffer, spans.starts, tag)
        values, fits = _strings(Spans(spans.buffer, begins, ends), fits & are_alike & (ends == spans.ends))
    else:
        packed, fits = _packed(spans, tag, model, are_alike)
        decode = _floats if kind == "float32" else _integers
        values, fits = decode(packed, fits, feature.size if isinstance(feature, FixedLenFeature) else None)
    if isinstance(feature, FixedLenFeature):
        return values, fits & (values.counts == feature.size)
    return values, fits


def _packed(spans: Spans, tag: int, model: bytes, are_alike: _Rows) -> tuple[Spans, _Rows]:
    """The bytes of a feature's numbers, and in which of the examples they are packed, and not none."""
    buffer, starts, ends = spans
    head = _head_of(model, tag)
    if head is not None:
        is_same = _begins_with(buffer, starts, head) & (ends - starts == len(model))
        if (is_same | ~are_alike).all():
            return Spans(buffer, starts + len(head), ends), are_alike
    begins, list_ends, fits = _message(buffer, starts, tag)
    fits = fits & are_alike & (list_ends == ends)
    begins, list_ends, is_packed = _message(buffer, begins, 0x0A)
    return Spans(buffer, begins, ends), fits & is_packed & (list_ends == ends) & (begins < ends)


def _head_of(model: bytes, tag: int) -> bytes | None:
    """What stands before the packed numbers of a message `Feature`; None if it is of another form or has none."""
    try:
        begin, list_end = _field(model, 0, tag)
        begin, packed_end = _field(model, begin, 0x0A)
    except (ValueError, IndexError):
        return None
    return model[:begin] if begin < list_end == packed_end == len(model) else None


def _floats(packed: Spans, fits: _Rows, size: int | None) -> tuple[Values, _Rows]:
    buffer, starts, ends = packed
    num_bytes = ends - starts
    counts = num_bytes // 4
    fits = fits & (num_bytes % 4 == 0)
    if size is None:
        flat = _gather(packed, fits).view("<f4").astype(np.float32, copy=False)
        return _padded(flat, np.where(fits, counts, 0), np.float32(0)), fits
    rows = _windows(buffer, starts, 4 * size).view("<f4").astype(np.float32, copy=False)
    return Values(rows, counts), fits


def _integers(packed: Spans, fits: _Rows, size: int | None) -> tuple[Values, _Rows]:
    buffer, starts, ends = packed
    if size == 1 and ((ends - starts) == 1).all():
        bytes_ = buffer.take(starts, mode="clip")
        return Values(bytes_[:, None].astype(np.int64), np.ones(len(starts), np.int64)), fits & (bytes_ < 0x80)
    fits = fits & (buffer.take(ends - 1, mode="clip") < 0x80)
    flat = _gather(packed, fits)
    is_last = flat < 0x80
    lasts = np.flatnonzero(is_last)
    firsts = np.concatenate([np.zeros(1, np.int64), lasts[:-1] + 1]) if len(lasts) else lasts
    widths = lasts - firsts + 1
    numbers = np.zeros(len(firsts), np.uint64)
    for place in range(min(int(widths.max(initial=0)), 10)):
        has_byte = widths > place
        bits = (flat[firsts[has_byte] + place] & 0x7F).astype(np.uint64)
        numbers[has_byte] |= bits << np.uint64(7 * place)
    sizes = np.where(fits, ends - starts, 0)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_last)])
    stops = np.cumsum(sizes)
    counts = before[stops] - before[stops - sizes]
    if (widths > 10).any():  # no number is that long
        fits = np.zeros_like(fits)
    return _padded(numbers.view(np.int64), counts, np.int64(-1)), fits


def _strings(texts: Spans, fits: _Rows) -> tuple[Values, _Rows]:
    buffer, starts, ends = texts
    cursor, rows = starts, np.flatnonzero(fits)
    found_rows, found_starts, found_ends = [], [], []
    # In round i all examples that have more than i strings give their next one.
    while len(rows):
        begins, stops, is_string = _message(buffer, cursor[rows], 0x0A)
        is_whole = is_string & (stops <= ends[rows])
        fits[rows[~is_whole]] = False
        rows, begins, stops = rows[is_whole], begins[is_whole], stops[is_whole]
        found_rows.append(rows)
        found_starts.append(begins)
        found_ends.append(stops)
        cursor = cursor.copy()
        cursor[rows] = stops
        rows = rows[stops < ends[rows]]
    if not found_rows:
        return Values(np.empty((len(starts), 0), object), np.zeros(len(starts), np.int64)), fits
    owners = np.concatenate(found_rows)
    order = np.argsort(owners, kind="stable")
    begin_list = np.concatenate(found_starts)[order].tolist()
    end_list = np.concatenate(found_ends)[order].tolist()
    flat = np.empty(len(order), object)
    memory = buffer.data
    try:
        flat[:] = [str(memory[begin:end], "utf-8") for begin, end in zip(begin_list, end_list, strict=True)]
    except UnicodeDecodeError:
        fits = np.zeros_like(fits)  # the parser tells which one it is
    return _padded(flat, np.bincount(owners, minlength=len(starts)), ""), fits


def _gather(spans: Spans, chosen: _Rows) -> Buffer:
    """The bytes of the chosen ranges, one after the other."""
    buffer, starts, ends = spans
    lengths = np.where(chosen, ends - starts, 0)
    before = np.cumsum(lengths) - lengths
    return buffer.take(np.repeat(starts - before, lengths) + np.arange(lengths.sum()))


def _padded(flat: NDArray[Any], counts: _Places, padding: Any) -> Values:
    """Rows of different lengths, given one after the other, as a rectangle."""
    width = int(counts.max(initial=0))
    if len(flat) == width * len(counts):
        return Values(flat.reshape(len(counts), width), counts)
    padded = np.full((len(counts), width), padding, dtype=flat.dtype)
    padded[np.arange(width) < counts[:, None]] = flat
    return Values(padded, counts)


def varint(number: int) -> bytes:
    """A length as it is written in front of a field."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
