"""CRC-32C, against TensorBoard's and published values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from torchestimator.io.crc32c import crc32c, masked_crc32c, masked_crc32c_of_ranges


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


@pytest.mark.parametrize("length", [0, 1, 3, 4, 2047, 2048, 1 << 20, (1 << 20) - 1, (5 << 20) + 777])
def test_data_with_their_checksum_have_a_constant_one(length):
    # A law of CRCs: what remains of any data followed by their own checksum.
    data = np.random.default_rng(0).bytes(length)
    assert crc32c(data + crc32c(data).to_bytes(4, "little")) == 0x48674BC7


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 300), max_size=60), st.integers(0, 400), st.randoms(use_true_random=False))
def test_many_ranges_have_the_checksums_of_each(lengths, before, random):
    lengths += [random.randrange(60, 80) for _ in range(20)]
    random.shuffle(lengths)
    data = np.frombuffer(random.randbytes(before + sum(lengths)), np.uint8)
    ends = before + np.cumsum(lengths)
    order = np.array(random.sample(range(len(lengths)), len(lengths)))
    starts, ends = (ends - lengths)[order], ends[order]
    expected = [masked_crc32c(data[start:end]) for start, end in zip(starts, ends, strict=True)]
    assert masked_crc32c_of_ranges(data, starts, ends).tolist() == expected


def test_long_ranges():
    data = np.frombuffer(np.random.default_rng(0).bytes(1_000_000), np.uint8)
    starts = np.arange(10) * 100_000
    expected = [masked_crc32c(data[start : start + 90_000]) for start in starts]
    assert masked_crc32c_of_ranges(data, starts, starts + 90_000).tolist() == expected
