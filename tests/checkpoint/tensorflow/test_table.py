import pytest

from tests.checkpoint.tensorflow.stored import DATA, block, table
from torchestimator.checkpoint import CheckpointDamagedError
from torchestimator.checkpoint.tensorflow.table import FOOTER_BYTES, TableReader


def read(content):
    return TableReader("the file", content).entries()


def test_prefixes_and_several_blocks():
    content = table(block([(0, b"a/bias", b"1"), (2, b"kernel", b"2" * 300)]), block([(0, b"b", b"")]))
    assert read(content) == {b"a/bias": b"1", b"a/kernel": b"2" * 300, b"b": b""}


def test_a_stored_table():
    entries = read((DATA / "linear_v2" / "model.ckpt-3.index").read_bytes())
    assert list(entries)[:3] == [b"", b"global_step", b"linear/linear_model/bias_weights"]
    assert list(entries) == sorted(entries)


@pytest.mark.parametrize("shared", [5, 2**40])
def test_garbled_entries(shared):
    with pytest.raises(CheckpointDamagedError, match=r"the block at byte 0 is garbled \(the entry at byte"):
        read(table(block([(0, b"ab", b"1"), (shared, b"c", b"2")])))


def test_compressed_blocks_are_refused():
    with pytest.raises(ValueError, match=r"the file has a block that is compressed \(snappy\).*save it anew"):
        read(table(block([(0, b"a", b"1")], compression=1)))


@pytest.mark.parametrize("content", [b"", bytes.fromhex("57fb808b247547db"), table()[:-1]])
def test_what_is_no_table(content):
    with pytest.raises(CheckpointDamagedError, match=f"cut off, or no table: {len(content)} bytes"):
        read(content)


def test_positions():
    first = block([(0, b"a", b"1")])
    content = bytearray(table(first, block([(0, b"b", b"1")])))
    content[len(first) + 2] ^= 1
    with pytest.raises(CheckpointDamagedError, match=f"the checksum of the block at byte {len(first)} differs"):
        read(bytes(content))
    content = bytearray(table(first))
    content[-FOOTER_BYTES + 2] = 0x7F
    with pytest.raises(CheckpointDamagedError, match="the block at byte 127 reaches beyond its end"):
        read(bytes(content))
    content[-FOOTER_BYTES : -FOOTER_BYTES + 40] = b"\xff" * 40
    with pytest.raises(CheckpointDamagedError, match="the footer tells no position"):
        read(bytes(content))
