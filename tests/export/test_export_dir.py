"""The folder of one export."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from tests.models import messages
from torchestimator.export.export_dir import ExportDir


def export(base, content="complete"):
    with ExportDir(base) as folder:
        os.makedirs(os.path.join(folder.path, "deep"))
        for name in ("a", "deep/b"):
            with open(os.path.join(folder.path, name), "w") as file:
                file.write(content)
        return folder.publish(), folder.version


def test_the_folder_appears_when_it_is_complete(tmp_path):
    base = tmp_path / "new" / "exports"
    with ExportDir(base) as folder:
        (base / f"temp-{folder.version}" / "a").write_text("x")
        assert folder.path == str(base / f"temp-{folder.version}")
        assert not os.path.exists(folder.final)
        path = folder.publish()
    assert path == folder.final == str(base / str(folder.version))
    assert (base / str(folder.version) / "a").read_text() == "x"
    assert os.listdir(base) == [str(folder.version)]


def test_exports_within_one_second_get_different_names(tmp_path, caplog):
    paths = [export(tmp_path)[0] for _ in range(2)]
    assert len(set(paths)) == 2
    assert sorted(os.listdir(tmp_path)) == [os.path.basename(path) for path in paths]
    assert "exists already; trying the next second (1 of 10)" in messages(caplog)[0]


def test_exports_from_several_threads_get_different_names(tmp_path):
    made = []
    threads = [threading.Thread(target=lambda: made.append(export(tmp_path)[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 3
    assert all(os.path.isfile(os.path.join(path, "deep", "b")) for path in made)
    assert len(os.listdir(tmp_path)) == 3


def test_a_crash_inside_leaves_nothing(tmp_path):
    def crash():
        with ExportDir(tmp_path) as folder:
            with open(os.path.join(folder.path, "a"), "w") as file:
                file.write("x")
            raise KeyError

    with pytest.raises(KeyError):
        crash()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_there_is_never_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("torchestimator.export.export_dir._ATTEMPTS", 1)
    monkeypatch.setattr("time.time", lambda: 1700000000.0)
    path, version = export(tmp_path)
    assert version == 1700000000
    with pytest.raises(RuntimeError, match=r"No free name for an export was found in .*Give each a folder of its own"):
        export(tmp_path, "another")
    with open(os.path.join(path, "a")) as file:
        assert file.read() == "complete"
    (tmp_path / "temp-1700000001").mkdir()
    monkeypatch.setattr("time.time", lambda: 1700000001.0)
    with pytest.raises(RuntimeError, match="No free name"):
        export(tmp_path)
    assert (tmp_path / "temp-1700000001").is_dir()


def test_a_base_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    for base in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"`export_dir_base` can't be made .*give a folder that this process may wri"):
            export(base)


KILLED = """
import os, signal, sys
from torchestimator.export.export_dir import ExportDir

def export(base, calls):
    fsync = os.fsync
    def count(descriptor):
        nonlocal calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)
    os.fsync = count
    with ExportDir(base) as folder:
        for name in "abc":
            with open(os.path.join(folder.path, name), "w") as file:
                file.write(name)
        folder.publish()

for calls in (0, 1, 2, 3):
    child = os.fork()
    if not child:
        export(os.path.join(sys.argv[1], str(calls)), calls)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_a_process_that_is_killed_leaves_no_export(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True)
    for calls in "0123":
        (left,) = os.listdir(tmp_path / calls)
        assert left.startswith("temp-")
    path, _ = export(tmp_path / "0")
    assert len(os.listdir(tmp_path / "0")) == 2
    assert os.path.isfile(os.path.join(path, "a"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def check_full(base, number, size):
    path, _ = export(base)
    with pytest.raises(OSError) as caught:
        export(base, "x" * size)
    assert caught.value.errno == number
    (note,) = caught.value.__notes__
    assert f"The disk of {base} is full (" in note
    assert "Nothing was exported; earlier exports are unharmed" in note
    assert os.listdir(base) == [os.path.basename(path)]


def test_a_full_disk_harms_nothing(small_disk):
    check_full(small_disk / "exports", errno.ENOSPC, 2 << 20)


def test_a_limit_on_files_harms_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        check_full(tmp_path / "exports", errno.EFBIG, 2 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_other_errors_get_no_note_about_the_disk(tmp_path):
    with pytest.raises(OSError, match="strange") as caught, ExportDir(tmp_path):
        raise OSError(errno.EIO, "strange")
    assert not hasattr(caught.value, "__notes__")
