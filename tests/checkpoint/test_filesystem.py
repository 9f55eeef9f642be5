"""filesystem: durable writing, and errors that say what to do."""

import errno
import os
import threading
from pathlib import Path

import pytest

from torchestimator.checkpoint.filesystem import (
    DurableFile,
    create_model_dir,
    explain_write_errors,
    replace_file,
    sync_folder,
    write_file,
)
from torchestimator.checkpoint.parallel import StoppedError


def test_large_and_small_writes_arrive_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x"
    parts = [bytes([index]) * size for index, size in enumerate((3, 40 << 20, 1, 33 << 20, 5))]
    with DurableFile(str(path)) as file:
        for part in parts:
            file.write(part)
        file.commit()
    assert path.read_bytes() == b"".join(parts)


def test_a_stopped_file_writes_no_more(tmp_path: Path) -> None:
    stop = threading.Event()
    with DurableFile(str(tmp_path / "x"), stop) as file:
        file.write(b"before")
        stop.set()
        with pytest.raises(StoppedError):
            file.write(b"after")
    assert (tmp_path / "x").read_bytes() == b"before"


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "index"
    for data in (b"one", b"two"):
        replace_file(str(path), data)
        assert path.read_bytes() == data
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(str(tmp_path / "folder"), b"x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "index"]


def test_folders_are_synced_or_missing(tmp_path: Path) -> None:
    sync_folder(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync_folder(str(tmp_path / "missing"))


def test_model_dirs_are_created_with_their_parents(tmp_path: Path) -> None:
    for _ in range(2):
        create_model_dir(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for model_dir in (tmp_path, tmp_path / "below"):
        with pytest.raises(PermissionError, match="`model_dir`") as caught:
            create_model_dir(str(model_dir))
        assert str(model_dir) in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_explained_in_bytes(number: int, tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"needs 1,234,567 bytes, [\d,]+ are free") as caught,
        explain_write_errors(str(tmp_path), 1_234_567),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert str(tmp_path) in str(caught.value)


def test_other_errors_keep_their_kind(tmp_path: Path) -> None:
    with (
        pytest.raises(IsADirectoryError, match="could not be written") as caught,
        explain_write_errors(str(tmp_path), 1),
    ):
        write_file(str(tmp_path), b"x")
    assert "free" not in str(caught.value)
