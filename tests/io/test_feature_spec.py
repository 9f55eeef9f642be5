import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator.io as te_io

DTYPES = {"float32": torch.float32, "int64": torch.int64, "string": str}
VALUES = {"float32": st.floats(allow_nan=False), "int64": st.integers(-(2**63), 2**63 - 1), "string": st.text()}


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_dtypes_have_names(name, dtype):
    assert te_io.VarLenFeature(name) == te_io.VarLenFeature(dtype)
    assert te_io.FixedLenFeature([2], name) == te_io.FixedLenFeature((2,), dtype)
    assert te_io.VarLenFeature(name).dtype is dtype
    assert te_io.FixedLenFeature((), name).dtype is dtype


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(sorted(DTYPES)), st.lists(st.integers(1, 3), max_size=3))
def test_features_survive_json(data, name, shape):
    size = int(np.prod(shape))
    values = data.draw(st.none() | VALUES[name] | st.lists(VALUES[name], min_size=size, max_size=size))
    default = np.array(values, dtype=object).reshape(shape).tolist() if isinstance(values, list) else values
    feature = te_io.FixedLenFeature(shape, DTYPES[name], default)
    assert te_io.feature_from_json(json.loads(json.dumps(feature.to_json()))) == feature
    assert hash(feature) == hash(te_io.FixedLenFeature(tuple(shape), name, default))
    variable = te_io.VarLenFeature(name)
    assert te_io.feature_from_json(json.loads(json.dumps(variable.to_json()))) == variable


def test_a_default_is_the_same_in_every_form():
    forms = ([[0.1, 2]], ((0.1, 2.0),), np.array([[0.1, 2.0]]))
    assert len({te_io.FixedLenFeature([1, 2], torch.float32, form) for form in forms}) == 1
    feature = te_io.FixedLenFeature([1, 2], torch.float32, forms[2])
    assert feature.default_value == ((0.1, 2.0),)
    assert feature.size == 2
    assert te_io.FixedLenFeature([2], str, "x").default_value == "x"
    assert te_io.FixedLenFeature([], torch.int64, np.int32(3)).default_value == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, np.float32, "float", int, None, bytes], ids=repr)
def test_other_dtypes_are_refused(dtype):
    for new in (te_io.VarLenFeature, lambda dtype: te_io.FixedLenFeature([1], dtype)):
        with pytest.raises(ValueError, match=r"`dtype` of a feature must be one of the three .* Received: "):
            new(dtype)


@pytest.mark.parametrize("shape", [3, None, [None], [-1, 2], [0], "12", [2.0]], ids=repr)
def test_shapes_list_sizes(shape):
    with pytest.raises(ValueError, match=r"`shape` of a FixedLenFeature must list the sizes .* Received: "):
        te_io.FixedLenFeature(shape, torch.float32)


@pytest.mark.parametrize(
    ("dtype", "default"),
    [("float32", "1"), ("float32", True), ("int64", 1.5), ("string", 1), ("string", ["a", b"b"]), ("string", b"a")],
)
def test_defaults_have_the_dtype(dtype, default):
    with pytest.raises(ValueError, match=f"`default_value` of a feature of {dtype} must be of that dtype"):
        te_io.FixedLenFeature([2], dtype, default)


def test_defaults_have_the_shape():
    with pytest.raises(ValueError, match=r"shape \[2\] of the feature. Received: \[1, 2, 3\], of shape \[3\]"):
        te_io.FixedLenFeature([2], torch.int64, [1, 2, 3])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "sparse"}, '"kind": "fixed_len" or "var_len". Received: .*sparse'),
        ({}, '"kind": "fixed_len" or "var_len"'),
        ({"kind": "fixed_len", "shape": [1]}, "lacks 'dtype'"),
        ({"kind": "var_len"}, "lacks 'dtype'"),
    ],
)
def test_other_documents_are_refused(document, message):
    with pytest.raises(ValueError, match=message):
        te_io.feature_from_json(document)
