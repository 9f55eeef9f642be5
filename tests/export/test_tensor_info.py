"""Names, dtypes and shapes of inputs and outputs."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.export.tensor_info import DATA_TYPES, STRING, TensorInfo, data_type

sizes = st.lists(st.one_of(st.just(-1), st.integers(1, 9)), max_size=4)


@st.composite
def infos(draw):
    shape = tuple(draw(sizes))
    names = tuple(draw(st.text("abc", min_size=1)) if size < 0 else None for size in shape)
    optional = st.one_of(st.none(), st.text(max_size=5))
    dtype = draw(st.sampled_from(sorted(DATA_TYPES)))
    return TensorInfo(draw(st.text(max_size=5)), dtype, shape, names, draw(optional), draw(optional))


@settings(deadline=None, max_examples=100)
@given(infos())
def test_json_and_back(info):
    document = info.to_json()
    assert TensorInfo.from_json(json.loads(json.dumps(document))) == info
    assert None not in document.values()
    assert info.type.name == info.dtype
    assert info.is_string == (info.dtype == "DT_STRING")


def test_what_is_missing_or_unknown_in_json():
    document = TensorInfo("x", "DT_FLOAT", (-1, 2)).to_json()
    assert document == {"name": "x", "dtype": "DT_FLOAT", "shape": [-1, 2]}
    for key in document:
        with pytest.raises(KeyError, match=key):
            TensorInfo.from_json({name: value for name, value in document.items() if name != key})
    with pytest.raises(KeyError, match="DT_COMPLEX"):
        TensorInfo.from_json({**document, "dtype": "DT_COMPLEX"})


@pytest.mark.parametrize("name", sorted(DATA_TYPES.keys() - {STRING}))
def test_torch_and_numpy_mean_the_same(name):
    kind = DATA_TYPES[name]
    assert torch.zeros(1, dtype=kind.torch).numpy().dtype == kind.numpy
    assert data_type(kind.torch, "x") is kind
    assert kind.is_floating_point == (kind.numpy.kind == "f")
    assert kind.triton == f"TYPE_{kind.open_inference}"
    bits = kind.numpy.itemsize * 8
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    assert kind.open_inference == ("BOOL" if kind.numpy.kind == "b" else f"{kinds[kind.numpy.kind]}{bits}")


def test_strings_are_objects_for_numpy_and_fingerprints_for_torch():
    kind = DATA_TYPES[STRING]
    assert (kind.numpy, kind.torch, kind.triton) == (np.dtype(object), torch.int64, "TYPE_STRING")
    assert data_type(torch.int64, "x").name == "DT_INT64"


def test_a_dtype_that_serving_does_not_know_is_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"can have tensors of float32.*Received: the output 'y' of complex64.*float"):
        data_type(torch.complex64, "the output 'y'")
    with pytest.raises(ValueError, match="bfloat16"):
        data_type(torch.bfloat16, "y")
