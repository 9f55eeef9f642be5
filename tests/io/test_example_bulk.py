"""Decoding in bulk must give what decoding one by one gives, for any bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator.io as te_io
from torchestimator.io.example_bulk import Spans, decode_alike, form_of
from torchestimator.io.example_each import decode_each

SPEC = {
    "age": te_io.FixedLenFeature([], torch.int64),
    "ids": te_io.VarLenFeature(torch.int64),
    "x": te_io.FixedLenFeature([2], torch.float32),
    "more": te_io.VarLenFeature(torch.float32),
    "city": te_io.FixedLenFeature([], str, default_value="none"),
    "words": te_io.VarLenFeature(str),
    "pair": te_io.FixedLenFeature([2], torch.int64, default_value=[7, 8]),
}
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 200)
FLOAT = st.floats(width=32, allow_nan=False)
EXAMPLE = st.fixed_dictionaries(
    {"age": INT64, "x": st.lists(FLOAT, min_size=2, max_size=2)},
    optional={
        "ids": st.lists(INT64, max_size=5),
        "more": st.lists(FLOAT, max_size=40),
        "city": st.text(max_size=200),
        "words": st.lists(st.text(max_size=9), max_size=4),
        "pair": st.lists(INT64, min_size=2, max_size=2),
        "other": st.text(max_size=300),
    },
)


def spans_of(serialized):
    ends = np.cumsum([len(each) for each in serialized])
    return Spans(np.frombuffer(b"".join(serialized), np.uint8), np.concatenate([[0], ends[:-1]]).astype(np.int64), ends)


def assert_same(bulk, each):
    assert list(bulk) == list(each)
    for name, values in each.items():
        np.testing.assert_array_equal(bulk[name], values, strict=True)


def one_by_one(serialized):
    parts = [te_io.parse_example([example], SPEC) for example in serialized]
    widths = {name: max(part[name].shape[-1] if part[name].ndim > 1 else 0 for part in parts) for name in SPEC}
    padding = {"ids": -1, "more": 0.0, "words": ""}
    return {
        name: np.concatenate(
            [
                np.pad(part[name], ((0, 0), (0, widths[name] - part[name].shape[1])), constant_values=padding[name])
                if name in padding
                else part[name]
                for part in parts
            ]
        )
        for name in SPEC
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(EXAMPLE, min_size=16, max_size=30))
def test_a_batch_is_its_examples_one_by_one(examples):
    serialized = [te_io.encode_example(example) for example in examples] * 4
    assert_same(te_io.parse_example(serialized, SPEC), one_by_one(serialized))


@settings(deadline=None, max_examples=60)
@given(EXAMPLE, st.data())
def test_examples_of_one_form(example, data):
    serialized = [
        te_io.encode_example({**example, "age": data.draw(INT64), "city": data.draw(st.text(max_size=150))})
        for _ in range(17)
    ] * 4
    assert set(form_of(serialized[0]).fields) == {*example, "city", "age"}
    assert_same(te_io.parse_example(serialized, SPEC), one_by_one(serialized))


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 69), st.data())
def test_a_damaged_example_is_judged_as_it_is_alone(row, data):
    example = {"age": 3, "x": [1.0, 2.0], "ids": [1, 300, -1], "words": ["a", "gr\u00fcn"], "city": "b", "pair": [1, 2]}
    serialized = [te_io.encode_example(example)] * 70
    damaged = bytearray(serialized[row])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    serialized[row] = bytes(damaged)
    damage = None
    try:
        expected = one_by_one(serialized)
    except te_io.MalformedExampleError as error:
        damage = str(error).replace("row 0", f"row {row}").replace("Row 0", f"Row {row}")
    if damage is None:
        assert_same(te_io.parse_example(serialized, SPEC), expected)
        return
    with pytest.raises(te_io.MalformedExampleError) as caught:
        te_io.parse_example(serialized, SPEC)
    assert caught.value.row == row
    assert str(caught.value) == damage


def test_all_alike_are_decoded_together():
    serialized = [te_io.encode_example({"age": index * 70, "x": [index, 0.5], "ids": [1] * 3}) for index in range(50)]
    odd = te_io.encode_example({"age": 1, "x": [1.0]})
    values, are_alike = decode_alike(spans_of([*serialized, odd]), SPEC, form_of(serialized[0]))
    assert are_alike.tolist() == [True] * 50 + [False]
    each = decode_each(serialized, range(50), SPEC)
    for name in SPEC:
        np.testing.assert_array_equal(values[name].array[:50], each[name].array)
        np.testing.assert_array_equal(values[name].counts[:50], each[name].counts)


def test_unusual_forms():
    assert list(form_of(te_io.encode_example({"b": 1, "a": "x"})).fields) == ["a", "b"]
    assert form_of(b"") is None
    assert form_of(b"\x0a\x05\x0a\x02") is None
    assert form_of(b"\x0a\x00\x0a\x00") is None
