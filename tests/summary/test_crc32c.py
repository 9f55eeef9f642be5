"""CRC-32C, against TensorBoard's and published values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from torchestimator.summary.crc32c import crc32c, masked_crc32c


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_published_values(data, crc):
    assert crc32c(data) == crc


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 20_000), st.randoms(use_true_random=False))
def test_any_length_agrees_with_the_byte_by_byte_checksum(length, random):
    data = random.randbytes(length)
    assert crc32c(data) == pywrap_tensorflow.crc32c(data)
    assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)
