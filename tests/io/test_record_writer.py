import gzip
import zlib

import pytest

import torchestimator.io as te_io


def test_a_writer_is_closed_at_the_end_and_complete_before_after_a_flush(tmp_path):
    path = tmp_path / "file"
    with te_io.TFRecordWriter(path) as writer:
        writer.write(b"one")
        writer.flush()
        assert list(te_io.read_records(path)) == [b"one"]
        writer.write(b"")
    assert list(te_io.read_records(path)) == [b"one", b""]
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"late")


@pytest.mark.parametrize(("compression", "plain"), [("gzip", gzip.decompress), ("zlib", zlib.decompress)])
def test_compression(tmp_path, compression, plain):
    for name, chosen in (("plain", None), ("small", compression)):
        with te_io.TFRecordWriter(tmp_path / name, chosen) as writer:
            for index in range(50):
                writer.write(b"x" * index)
                writer.flush()
    assert plain((tmp_path / "small").read_bytes()) == (tmp_path / "plain").read_bytes()


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"`compression` must be None.*Received: compression='GZ'"):
        te_io.TFRecordWriter(tmp_path / "file", "GZ")
    assert not (tmp_path / "file").exists()
    with (
        te_io.TFRecordWriter(tmp_path / "file") as writer,
        pytest.raises(TypeError, match=r"dict.*encode_ex"),
    ):
        writer.write({"a": 1})
