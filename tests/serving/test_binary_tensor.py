import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from torchestimator.serving.binary_tensor import NUMPY_DTYPES, read_tensor, write_tensor
from torchestimator.serving.request_error import RequestError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@settings(deadline=None, max_examples=50)
@given(data=st.data(), datatype=st.sampled_from([name for name in NUMPY_DTYPES if name != "BYTES"]), shape=SHAPES)
def test_numbers_survive(data, datatype, shape):
    array = data.draw(hnp.arrays(NUMPY_DTYPES[datatype], shape))
    back = read_tensor("x", datatype, shape, memoryview(write_tensor(array)))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@settings(deadline=None, max_examples=50)
@given(array=hnp.arrays(object, SHAPES, elements=st.text(st.characters(exclude_categories=["Cs"]))))
def test_strings_survive_as_their_bytes(array):
    back = read_tensor("x", "BYTES", array.shape, memoryview(write_tensor(array)))
    assert back.shape == array.shape
    assert [each.decode() for each in back.reshape(-1)] == array.reshape(-1).tolist()


def test_numbers_that_begin_anywhere_in_a_body_are_aligned():
    body = memoryview(b"?" + np.arange(3, dtype="float64").tobytes())
    array = read_tensor("x", "FP64", (3,), body[1:])
    assert array.flags.aligned
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        ("FP32", b"\0" * 7, "7 bytes.*takes 8"),
        ("BYTES", b"\1\0\0\0a", "1 strings"),
        ("BYTES", b"\1\0\0\0a\2\0\0\0b", "inside of its string 1"),
        ("BYTES", b"\1\0\0\0a\2\0", "inside of its string 1"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype, data, message):
    with pytest.raises(RequestError, match=message):
        read_tensor("x", datatype, (2,), memoryview(data))
