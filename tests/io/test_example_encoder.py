import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator.io as te_io

# What TensorFlow 2.15 writes: tf.train.Example(...).SerializeToString(deterministic=True).
WRITTEN_BY_TENSORFLOW = [
    ({}, "0a00"),
    (
        {"price": [1.5, -2.0], "color": ["gr\u00fcn", ""], "id": [-1, 2**62, 0], "word": b"\x00\xffab\x00"},
        "0a600a140a05636f6c6f72120b0a090a056772c3bc6e0a000a1e0a02696412181a160a14ffffffffffffffffff018080808080808080"
        "40000a150a057072696365120c120a0a080000c03f000000c00a110a04776f726412090a070a0500ff616200",
    ),
    (
        {"k": 3, "a": [1.0, 2.0], "t": "x"},
        "0a2b0a110a0161120c120a0a080000803f000000400a0a0a016b12051a030a01030a0a0a017412050a030a0178",
    ),
]


@pytest.mark.parametrize(("features", "expected"), WRITTEN_BY_TENSORFLOW)
def test_bytes_are_those_of_tensorflow(features, expected):
    assert te_io.encode_example(features).hex() == expected


def test_order_does_not_matter():
    features = {f"feature {index}": float(index) for index in range(30)}
    backwards = dict(reversed(features.items()))
    assert te_io.encode_example(features) == te_io.encode_example(backwards)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(1.5), 1.5),
        (np.array([[1.5, 2.5]]), [1.5, 2.5]),
        (np.array([1.5], dtype=np.float16), 1.5),
        (torch.tensor([[1.5], [2.5]], requires_grad=True), [1.5, 2.5]),
        ([1, 2.5], [1.0, 2.5]),
        (True, 1),
        ([True, False], [1, 0]),
        (np.int32(7), 7),
        (np.array([7, 8], dtype=np.uint64), [7, 8]),
        (torch.tensor(7), [7]),
        ([[1, 2], [3, 4]], [1, 2, 3, 4]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["a", b"bc"], dtype=object), [b"a", b"bc"]),
        (["nul\0", "x"], [b"nul\0", b"x"]),
        (("a",), "a"),
        (float("inf"), np.inf),
    ],
    ids=repr,
)
def test_values_of_one_kind_are_written_alike(value, plain):
    assert te_io.encode_example({"x": value}) == te_io.encode_example({"x": plain})


@pytest.mark.parametrize("value", [[], (), np.empty((0, 3)), torch.empty(0, dtype=torch.int64)], ids=repr)
def test_no_values_are_a_missing_feature(value):
    for feature in (te_io.FixedLenFeature([], torch.int64, 5), te_io.FixedLenFeature([], str, "none")):
        (decoded,) = te_io.parse_example([te_io.encode_example({"x": value})], {"x": feature}).values()
        assert decoded.tolist() == [feature.default_value]


floats = st.lists(st.floats(width=32), min_size=1, max_size=5)
integers = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5)
texts = st.lists(st.text(max_size=20), min_size=1, max_size=5)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.text(max_size=10), st.one_of(floats, integers, texts), max_size=6))
def test_decoding_gives_back_what_was_encoded(features):
    kinds = {float: torch.float32, int: torch.int64, str: str}
    spec = {name: te_io.FixedLenFeature([len(each)], kinds[type(each[0])]) for name, each in features.items()}
    decoded = te_io.parse_example([te_io.encode_example(features)], spec)
    assert decoded.keys() == features.keys()
    for name, values in features.items():
        np.testing.assert_array_equal(decoded[name], np.array([values], dtype=decoded[name].dtype))
    variable = {name: te_io.VarLenFeature(each.dtype) for name, each in spec.items()}
    for name, values in te_io.parse_example([te_io.encode_example(features)], variable).items():
        np.testing.assert_array_equal(values, decoded[name])
        assert values.dtype == decoded[name].dtype


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ([1.5], TypeError, r"`features` must be a dict .* Received: \[1\.5\]"),
        ({1: 1.5}, TypeError, "Names of features must be strings. Received: 1"),
        ({"x": None}, TypeError, r"'x' must hold .* Received: None \(NoneType\)"),
        ({"x": ["a", 1]}, TypeError, r"'x' must hold .* Received: 1 \(int\)"),
        ({"x": 1j}, TypeError, r"'x' must hold .* \(complex\)"),
        ({"x": [[1], [2, 3]]}, ValueError, r"'x' must be a list .* Received: \[\[1\], \[2, 3\]\]"),
        ({"x": 2**63}, ValueError, "'x' has a number that does not fit into int64. Received: 9223372036854775808"),
        ({"x": [0, -(2**70)]}, ValueError, "'x' has a number that does not fit into int64. Received: -1180591"),
        ({"x": np.array([2**63], dtype=np.uint64)}, ValueError, "does not fit into int64"),
        ({"x": [float("nan"), 1e39]}, ValueError, r"'x' has a number that does not fit into float32. Received: 1e\+39"),
        ({"x": "a\ud800"}, ValueError, "'x' has text that cannot be written as UTF-8"),
    ],
)
def test_errors_name_the_feature(features, error, message):
    with pytest.raises(error, match=message):
        te_io.encode_example(features)


def test_the_largest_float_is_no_error():
    largest = float(np.finfo(np.float32).max)
    encoded = te_io.encode_example({"x": [largest, -largest]})
    decoded = te_io.parse_example([encoded], {"x": te_io.FixedLenFeature([2], torch.float32)})["x"]
    assert json.dumps(decoded.tolist()) == json.dumps([[largest, -largest]])
