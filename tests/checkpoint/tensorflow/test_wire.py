import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from torchestimator.checkpoint.tensorflow.wire import as_bytes, as_int, read_fields, read_varint, signed


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_varints(number, before):
    written = encoder._VarintBytes(number)
    assert read_varint(before + written + b"\xff", len(before)) == (number, len(before) + len(written))
    for length in range(len(written)):
        with pytest.raises(ValueError, match="no varint ends"):
            read_varint(written[:length], 0)


def test_a_varint_that_never_ends():
    with pytest.raises(ValueError, match="no varint ends"):
        read_varint(b"\xff" * 20, 0)


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers(number):
    assert signed(number % 2**64) == number


def test_fields():
    message = b"\x08\x96\x01\x12\x03abc\x1d\x01\x00\x00\x00\x21\x02\x00\x00\x00\x00\x00\x00\x00"
    assert list(read_fields(message)) == [(1, 150), (2, b"abc"), (3, 1), (4, 2)]
    for cut in (1, 4, 6, 9, 16):
        with pytest.raises(ValueError, match=r"no varint|is cut off"):
            list(read_fields(message[:cut]))
    with pytest.raises(ValueError, match="unknown type 3"):
        list(read_fields(b"\x0b"))


def test_types_of_fields():
    assert (as_int(3), as_bytes(b"x")) == (3, b"x")
    with pytest.raises(ValueError, match="bytes stand where a number"):
        as_int(b"x")
    with pytest.raises(ValueError, match="a number stands where bytes"):
        as_bytes(3)
