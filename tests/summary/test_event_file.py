"""The event file on disk."""

import shutil
import subprocess
import sys
import threading

import pytest

from tests.summary.event_files import events
from torchestimator.summary import protos
from torchestimator.summary.event_file import EventFile
from torchestimator.summary.reader import read_scalars


def event(step, value=1.0):
    return protos.event(0.0, step, summary=protos.summary([protos.scalar("x", value)]))


def steps(logdir):
    return sorted(read_scalars(logdir))


def run(code, *arguments):
    """Run a program of its own and return what it printed."""
    head = (
        "import os, sys, time\n"
        "from torchestimator.summary import protos\n"
        "from torchestimator.summary.event_file import EventFile\n"
        "logdir = sys.argv[1]\n"
        "def event(step, text=''):\n"
        "    return protos.event(0.0, step, summary=protos.summary([protos.scalar('x' + text, 1.0)]))\n"
    )
    command = [sys.executable, "-W", "error", "-c", head + code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_nothing_is_created_before_the_first_record(tmp_path):
    file = EventFile(tmp_path / "run")
    file.sync()
    assert not (tmp_path / "run").exists()
    file.append(event(1))
    (path,) = (tmp_path / "run").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    assert path.name.split(".")[3].isdigit()
    assert len(path.name.split(".")[3]) == 10
    file.close()


def test_records_are_visible_at_once_and_the_version_comes_first(tmp_path):
    file = EventFile(tmp_path)
    file.append(event(1))
    file.append(event(2))
    assert [found.WhichOneof("what") for found in events(tmp_path)] == ["file_version", "summary", "summary"]
    assert events(tmp_path)[0].file_version == "brain.Event:2"
    file.sync()
    file.close()


def test_a_killed_process_loses_nothing(tmp_path):
    code = "file = EventFile(logdir)\nfile.append(event(1))\nfile.append(event(2))\nos.kill(os.getpid(), 9)\n"
    with pytest.raises(subprocess.CalledProcessError):
        run(code, tmp_path)
    assert steps(tmp_path) == [1, 2]


def test_released_files_are_continued(tmp_path):
    file = EventFile(tmp_path)
    file.append(event(1))
    file.release()
    file.append(event(2))
    file.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("released", [False, True])
def test_a_deleted_folder_gets_a_new_file(tmp_path, released):
    logdir = tmp_path / "run"
    file = EventFile(logdir)
    file.append(event(1))
    if released:
        file.release()
    shutil.rmtree(logdir)
    file.append(event(2))
    file.close()
    assert steps(logdir) == [2]
    assert events(logdir)[0].HasField("file_version")


def test_a_closed_file_takes_no_records(tmp_path):
    file = EventFile(tmp_path)
    file.append(event(1))
    file.close()
    file.close()
    assert file.closed
    with pytest.raises(RuntimeError, match="is closed"):
        file.append(event(2))
    assert steps(tmp_path) == [1]


def test_two_files_of_one_folder_have_different_names(tmp_path):
    first, second = EventFile(tmp_path), EventFile(tmp_path)
    first.append(event(1))
    second.append(event(2))
    first.close()
    second.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert steps(tmp_path) == [1, 2]


def test_a_record_that_does_not_fit_is_taken_back(tmp_path):
    # The largest size a process may give a file stands for a full disk.
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file = EventFile(logdir)\n"
        "file.append(event(1))\n"
        "path = os.path.join(logdir, os.listdir(logdir)[0])\n"
        "size = os.path.getsize(path)\n"
        "unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, unlimited))\n"
        "try:\n"
        "    file.append(event(2, 'y' * 1000))\n"
        "except OSError as error:\n"
        "    print(type(error).__name__, os.path.getsize(path) - size)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))\n"
        "file.append(event(3))\n"
    )
    assert run(code, tmp_path).split() == ["OSError", "0"]
    assert steps(tmp_path) == [1, 3]


def test_a_forked_child_writes_to_a_file_of_its_own(tmp_path):
    code = (
        "file = EventFile(logdir)\n"
        "file.append(event(1))\n"
        "file._lock.acquire()\n"  # as another thread may hold it at the moment of the fork
        "child = os.fork()\n"
        "if child == 0:\n"
        "    file.append(event(2))\n"
        "    os._exit(0)\n"
        "file._lock.release()\n"
        "status = os.waitpid(child, 0)[1]\n"
        "file.append(event(3))\n"
        "print(status)\n"
    )
    assert run(code, tmp_path).strip() == "0"
    found = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    assert len(found) == 2
    assert steps(tmp_path) == [1, 2, 3]
    assert sorted(read_scalars(tmp_path, found[0].name)) == [2]


def test_threads_do_not_mix_their_records(tmp_path):
    file = EventFile(tmp_path)

    def write(first):
        for step in range(first, first + 100):
            file.append(event(step))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert steps(tmp_path) == list(range(400))
