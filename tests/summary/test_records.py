"""The record format."""

from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.io.record_frame import frame
from torchestimator.summary.records import RecordTail


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
def test_records_are_read_once_wherever_the_file_is_cut(tmp_path_factory, records, data):
    content = b"".join(frame(record) for record in records)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    path = tmp_path_factory.mktemp("records") / "file"
    tail = RecordTail(path)
    read = list(tail.read())
    for cut in [*cuts, len(content)]:
        path.write_bytes(content[:cut])
        read += tail.read()
    assert read == records
    assert list(tail.read()) == []


def test_a_damaged_record_ends_the_reading_and_is_tried_again(tmp_path):
    path = tmp_path / "file"
    good = frame(b"first") + frame(b"second") + frame(b"third")
    tail = RecordTail(path)
    for position in (len(frame(b"first")) + 2, len(frame(b"first")) + 14):
        damaged = bytearray(good)
        damaged[position] ^= 1
        path.write_bytes(bytes(damaged))
        assert list(RecordTail(path).read()) == [b"first"]
    assert list(tail.read()) == [b"first"]
    path.write_bytes(good)
    assert list(tail.read()) == [b"second", b"third"]


def test_a_tail_of_zeros_ends_the_reading(tmp_path):
    # What a file system may leave behind after a power failure.
    path = tmp_path / "file"
    path.write_bytes(frame(b"first") + bytes(4096))
    assert list(RecordTail(path).read()) == [b"first"]


def test_a_file_that_is_gone_has_no_records(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(frame(b"first") + frame(b"second"))
    tail = RecordTail(path)
    assert next(tail.read()) == b"first"
    path.unlink()
    assert list(tail.read()) == []
