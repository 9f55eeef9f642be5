import subprocess
import sys

import numpy as np
import pytest
import torch

import torchestimator.io as te_io

# What TensorFlow 2.15 writes for {"a": [1., 2.], "t": ["x"], "k": [3]}, {"a": [5.], "k": [7, 8]} and {}.
WRITTEN_BY_TENSORFLOW = [
    bytes.fromhex(each)
    for each in (
        "0a2b0a110a0161120c120a0a080000803f000000400a0a0a016b12051a030a01030a0a0a017412050a030a0178",
        "0a1c0a0d0a0161120812060a040000a0400a0b0a016b12061a040a020708",
        "0a00",
    )
]
# A feature "none" without a kind and one "empty" of no floats, beside others.
WITH_EMPTY_FEATURES = bytes.fromhex(
    "0a640a140a05636f6c6f72120b0a090a056772c3bc6e0a000a0b0a05656d707479120212000a1e0a02696412181a160a14ffffffffffffffff"
    "ff01808080808080808040000a080a046e6f6e6512000a150a057072696365120c120a0a080000c03f000000c0"
)
# {"a": [1., 2.]} with each float on its own, as protocol buffers may be written.
UNPACKED = bytes.fromhex("0a130a110a0161120c120a0d0000803f0d00000040")


def test_a_batch_that_tensorflow_wrote():
    decoded = te_io.parse_example(
        WRITTEN_BY_TENSORFLOW,
        {
            "a": te_io.VarLenFeature(torch.float32),
            "t": te_io.FixedLenFeature([1], str, default_value="none"),
            "k": te_io.VarLenFeature(torch.int64),
        },
    )
    assert list(decoded) == ["a", "t", "k"]
    np.testing.assert_array_equal(decoded["a"], np.array([[1, 2], [5, 0], [0, 0]], dtype=np.float32), strict=True)
    np.testing.assert_array_equal(decoded["k"], np.array([[3, -1], [7, 8], [-1, -1]]), strict=True)
    assert decoded["t"].tolist() == [["x"], ["none"], ["none"]]
    assert decoded["t"].dtype == object


def test_features_without_values():
    decoded = te_io.parse_example(
        [WITH_EMPTY_FEATURES],
        {
            "price": te_io.FixedLenFeature([2], "float32"),
            "color": te_io.VarLenFeature("string"),
            "id": te_io.FixedLenFeature([3, 1], "int64"),
            "none": te_io.FixedLenFeature([], "int64", default_value=7),
            "empty": te_io.VarLenFeature("float32"),
            "absent": te_io.VarLenFeature("string"),
        },
    )
    assert {name: values.tolist() for name, values in decoded.items()} == {
        "price": [[1.5, -2.0]],
        "color": [["gr\u00fcn", ""]],
        "id": [[[-1], [2**62], [0]]],
        "none": [7],
        "empty": [[]],
        "absent": [[]],
    }


@pytest.mark.parametrize("others", [[], [te_io.encode_example({"a": [3.0, 4.0]})]])
def test_unpacked_numbers(others):
    spec = {"a": te_io.FixedLenFeature([2], torch.float32)}
    decoded = te_io.parse_example([UNPACKED, *others], spec)["a"]
    np.testing.assert_array_equal(decoded, np.array([[1, 2], [3, 4]][: 1 + len(others)], dtype=np.float32), strict=True)


@pytest.mark.parametrize("size", [1, 2, 31, 32, 200, 5000])
def test_many_floats(size):
    rows = np.random.default_rng(0).normal(size=(3, size)).astype(np.float32)
    serialized = np.array([te_io.encode_example({"x": row, "y": 1}) for row in rows], dtype=object)
    decoded = te_io.parse_example(serialized, {"x": te_io.FixedLenFeature([size], torch.float32)})["x"]
    np.testing.assert_array_equal(decoded, rows, strict=True)
    decoded += 1  # a copy, not a view of the bytes
    square = te_io.parse_example(serialized[:1], {"x": te_io.FixedLenFeature([1, size], torch.float32)})["x"]
    np.testing.assert_array_equal(square, rows[:1, None], strict=True)


def test_defaults_stand_for_missing_features():
    spec = {
        "scalar": te_io.FixedLenFeature([], torch.float32, default_value=0.5),
        "matrix": te_io.FixedLenFeature([2, 2], torch.int64, default_value=[[1, 2], [3, 4]]),
        "words": te_io.FixedLenFeature([2], str, default_value="none"),
    }
    given = {"scalar": 1.5, "matrix": [[5, 6], [7, 8]], "words": ["a", "b"]}
    batch = [te_io.encode_example({}), te_io.encode_example(given), te_io.encode_example({"scalar": 2.5})]
    decoded = te_io.parse_example(batch, spec)
    assert decoded["scalar"].tolist() == [0.5, 1.5, 2.5]
    assert decoded["matrix"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[1, 2], [3, 4]]]
    assert decoded["words"].tolist() == [["none", "none"], ["a", "b"], ["none", "none"]]


def test_an_empty_batch():
    spec = {
        "a": te_io.FixedLenFeature([2], torch.float32),
        "b": te_io.FixedLenFeature([], str),
        "c": te_io.VarLenFeature(torch.int64),
    }
    decoded = te_io.parse_example([], spec)
    assert {name: (values.shape, values.dtype.kind) for name, values in decoded.items()} == {
        "a": ((0, 2), "f"),
        "b": ((0,), "O"),
        "c": ((0, 0), "i"),
    }
    assert te_io.parse_example([b""], {}) == {}


FLOAT_PAIR = {"x": te_io.FixedLenFeature([2], torch.float32)}
INTEGER = {"x": te_io.FixedLenFeature([1], torch.int64)}
TEXT = {"x": te_io.VarLenFeature(str)}


@pytest.mark.parametrize(
    ("bad", "spec", "message"),
    [
        ({}, FLOAT_PAIR, r"Row 1 .* lacks the feature 'x', .* te\.io\.FixedLenFeature\(\[2\], torch\.float32, default"),
        ({"x": []}, INTEGER, "Row 1 .* lacks the feature 'x'"),
        ({"x": [1.0]}, FLOAT_PAIR, r"'x' must have 2 values, for the shape \[2\]. Received in row 1: 1\."),
        ({"x": [1, 2, 3]}, INTEGER, r"'x' must have 1 values.* row 1: 3\. .*te\.io\.VarLenFeature\(torch\.int64\)"),
        ({"x": [1, 2]}, FLOAT_PAIR, "'x' must be a float_list, of float32. Received in row 1: a int64_list. Write num"),
        ({"x": [1.0]}, INTEGER, "'x' must be a int64_list, of int64. Received in row 1: a float_list"),
        ({"x": [1.0]}, TEXT, "'x' must be a bytes_list, of string. Received in row 1: a float_list"),
        ({"x": [b"ok", b"\xff\xfe"]}, TEXT, r"'x' must be text in UTF-8. Received in row 1: b'\\xff\\xfe'"),
    ],
)
def test_errors_name_feature_and_row(bad, spec, message):
    good = {"x": {"float32": [1.0, 2.0], "int64": 3, "string": "word"}[spec["x"].kind.name]}
    with pytest.raises(ValueError, match=message):
        te_io.parse_example([te_io.encode_example(good), te_io.encode_example(bad)], spec)


@pytest.mark.parametrize("bad", [b"no example", WRITTEN_BY_TENSORFLOW[0][:-1], WRITTEN_BY_TENSORFLOW[0] + b"\x0a"])
def test_malformed_examples_are_named_by_their_row(bad):
    with pytest.raises(ValueError, match=r"Row 2 of `serialized` is no tf.Example. Received: \d+ bytes that begin"):
        te_io.parse_example([*WRITTEN_BY_TENSORFLOW[:2], bad], {"a": te_io.VarLenFeature(torch.float32)})


def test_a_malformed_feature_is_named():
    malformed = bytes.fromhex("0a080a060a01781201ff")
    with pytest.raises(ValueError, match=r"feature 'x' in row 0 of `serialized` is malformed\. Received: 1 bytes"):
        te_io.parse_example([malformed], TEXT)
    assert te_io.parse_example([malformed], {"y": te_io.VarLenFeature(str)})["y"].shape == (1, 0)


def test_a_kind_of_the_future_is_refused():
    unknown = bytes.fromhex("0a090a070a017812022200")
    with pytest.raises(ValueError, match="Received in row 0: nothing known"):
        te_io.parse_example([unknown], INTEGER)


@pytest.mark.parametrize(
    ("serialized", "error", "message"),
    [
        (b"one", TypeError, r"sequence of bytes.* Received: bytes\. For one example: parse_example\(\[serialized\]"),
        ("text", TypeError, "Received: str"),
        (3, TypeError, "Received: int"),
        (["text"], TypeError, r"must hold bytes. Received in row 0: 'text' \(str\)"),
        (np.array([b"a\0"]), TypeError, r"cuts off NULs .* np\.array\(list_of_bytes, dtype=object\)"),
        (np.array([[b"a"]], dtype=object), ValueError, r"must be \[batch\]. Received: shape \[1, 1\]"),
    ],
)
def test_what_is_no_batch_is_refused(serialized, error, message):
    with pytest.raises(error, match=message):
        te_io.parse_example(serialized, FLOAT_PAIR)


def test_what_is_no_feature_is_refused():
    with pytest.raises(TypeError, match=r"Received for 'x': torch.float32. .*te\.io\.FixedLenFeature\(\[1\]"):
        te_io.parse_example([], {"x": torch.float32})


def test_the_messages_leave_others_of_their_name_alone():
    """TensorFlow declares messages of the same names in the default pool; here a file stands in for its."""
    code = """if True:
        from google.protobuf import descriptor_pb2, descriptor_pool
        import torchestimator.io as te_io, torch
        def declare(name):
            file = descriptor_pb2.FileDescriptorProto(name=name, package="tensorflow", syntax="proto3")
            for message in ("Example", "Features", "Feature", "FloatList"):
                file.message_type.add(name=message)
            descriptor_pool.Default().Add(file)
            return descriptor_pool.Default().FindMessageTypeByName("tensorflow.Example")
        declare("tensorflow/core/example/example.proto")
        encoded = te_io.encode_example({"x": 1.5})
        print(te_io.parse_example([encoded], {"x": te_io.FixedLenFeature([1], torch.float32)}))
        print(len(descriptor_pool.Default().FindMessageTypeByName("tensorflow.Example").fields))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["{'x': array([[1.5]], dtype=float32)}", "0"]
