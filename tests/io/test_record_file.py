import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator.io as te_io
from torchestimator.io.record_file import RecordFile
from torchestimator.io.record_frame import frame

RECORDS = [b"", b"one", "gr\u00fcn".encode()]
# What TensorFlow 2.15 writes for them.
PLAIN = (
    "000000000000000029039807d8ea82a20300000000000000b099490e6f6e65014055080500000000000000eab2043e6772c3bc6e50bc5802"
)
GZIP = (
    "1f8b0800000000000003636080004de619ec375e352d6286f237ccf4e4cbcf4b657408e560850abddac462975e74784f5ec09e08260074df85c83"
    "8000000"
)
ZLIB = "789c636080004de619ec375e352d6286f237ccf4e4cbcf4b657408e560850abddac462975e74784f5ec09e08260032c50d44"


@pytest.mark.parametrize("written", [PLAIN, GZIP, ZLIB], ids=["plain", "gzip", "zlib"])
def test_files_that_tensorflow_wrote(tmp_path, written):
    path = tmp_path / "file"
    path.write_bytes(bytes.fromhex(written))
    assert list(te_io.read_records(path)) == RECORDS


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.binary(max_size=90) | st.integers(0, 9000).map(bytes), max_size=40),
    st.sampled_from([None, "gzip", "zlib"]),
)
def test_what_is_written_is_read(tmp_path_factory, records, compression):
    path = tmp_path_factory.mktemp("records") / "file"
    with te_io.TFRecordWriter(path, compression) as writer:
        for record in records:
            writer.write(record)
    assert list(te_io.read_records(path)) == records


def test_many_records_of_many_lengths(tmp_path):
    random = np.random.default_rng(0)
    records = [random.bytes(int(size)) for size in random.lognormal(4, 1.5, 6000)]
    (tmp_path / "file").write_bytes(b"".join(map(frame, records)))
    assert list(te_io.read_records(tmp_path / "file")) == records


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_any_changed_byte_is_found(tmp_path_factory, data):
    records = [bytes([index]) * (index % 23) for index in range(60)]
    framed = [frame(record) for record in records]
    content = bytearray(b"".join(framed))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("records") / "file"
    path.write_bytes(bytes(content))
    ends = np.cumsum([len(each) for each in framed])
    damaged = int(np.searchsorted(ends, position, side="right"))
    read = []
    with pytest.raises(te_io.RecordDamagedError) as caught:
        read.extend(te_io.read_records(path))
    assert caught.value.position == (ends[damaged - 1] if damaged else 0)
    assert str(path) in str(caught.value)
    assert read == records[:damaged]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200))
def test_a_file_that_was_cut_off(tmp_path_factory, num_bytes):
    content = b"".join(map(frame, [b"first", b"x" * 200]))
    path = tmp_path_factory.mktemp("records") / "file"
    path.write_bytes(content[:-num_bytes])
    begin = len(frame(b"first"))
    with pytest.raises(te_io.RecordDamagedError, match=f"at byte {begin}: the record is cut off, the file ends"):
        list(te_io.read_records(path))


def test_other_files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"age,income\n39,1\n40,0\n")
    with pytest.raises(te_io.RecordDamagedError, match=r"at byte 0: .*is this a TFRecord file\?"):
        list(te_io.read_records(path))
    path.write_bytes(b"")
    assert list(te_io.read_records(path)) == []
    with pytest.raises(FileNotFoundError):
        list(te_io.read_records(tmp_path / "none"))


def test_damaged_compression(tmp_path):
    path = tmp_path / "file"
    whole = gzip.compress(b"".join(map(frame, [b"x" * 999] * 30)))
    path.write_bytes(whole[:-20])
    with pytest.raises(te_io.RecordDamagedError, match=r"compressed data end too early"):
        list(te_io.read_records(path))
    path.write_bytes(whole[:30] + bytes([whole[30] ^ 255]) + whole[31:])
    with pytest.raises(te_io.RecordDamagedError, match=re.escape(str(path)) + r".*cannot be decompressed"):
        list(te_io.read_records(path))
    path.write_bytes(whole + whole)
    assert len(list(te_io.read_records(path))) == 60


def test_records_in_any_order(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"".join(frame(bytes([index]) * 9) for index in range(9)))
    file = RecordFile(path)
    ((starts, ends),) = file.blocks()
    order = np.array([4, 8, 0, 4])
    file.check(starts[order], ends[order])
    assert [file.data[starts[index]] for index in order] == [4, 8, 0, 4]
    file.check(starts[:0], ends[:0])
