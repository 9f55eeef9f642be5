import pytest

from torchestimator.checkpoint.tensorflow.bundle import Extent, parse_entry, parse_header, slice_key


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "80"), (63, "bf"), (64, "c040"), (-1, "7f"), (-64, "40"), (-65, "3fbf"), (8191, "dfff"), (8192, "e02000")],
)
def test_the_keys_of_slices(number, encoded):
    # Numbers by tensorflow/core/lib/strings/ordered_code; the stored checkpoints have whole keys.
    assert slice_key("v", (Extent(0, number),)).hex() == "00" + "76" + "0001" + "0101" + "80" + encoded


def test_headers():
    header = parse_header(bytes.fromhex("08021a020801"))
    assert (header.num_shards, header.is_little_endian, header.min_consumer) == (2, True, 0)
    assert not parse_header(b"\x08\x01\x10\x01").is_little_endian
    assert parse_header(b"\x08\x01\x1a\x02\x10\x05").min_consumer == 5
    with pytest.raises(ValueError, match="0 shards"):
        parse_header(b"")


def test_entries():
    entry = parse_entry(bytes.fromhex("08011208120208031202080120082804350a000000"))
    assert (entry.dtype, entry.shape, entry.shard, entry.offset, entry.size, entry.crc) == (1, (3, 1), 0, 8, 4, 10)
    assert parse_entry(b"\x08\x09").shape == ()
    sliced = parse_entry(bytes.fromhex("08013a0a0a04080210030a000a00"))
    assert sliced.slices == ((Extent(2, 3), Extent(0, -1), Extent(0, -1)),)
