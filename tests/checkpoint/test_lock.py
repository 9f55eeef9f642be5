"""lock: one training per model_dir, across processes, forks and kills."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from torchestimator.checkpoint import ModelDirLock
from torchestimator.checkpoint.lock import writer_lock

_HOLDER = """
import os, sys, time
from torchestimator.checkpoint import ModelDirLock
with ModelDirLock(sys.argv[1]):
    if sys.argv[2] == "fork":
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
    print("held", flush=True)
    sys.stdin.read()
"""


def _start_holder(model_dir: Path, mode: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _HOLDER, str(model_dir), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_is_told_who_holds_the_folder_until_that_one_dies(tmp_path: Path) -> None:
    with _start_holder(tmp_path, "fork") as holder:
        worker = int(_line(holder))
        assert _line(holder) == "held"
        with pytest.raises(RuntimeError, match=rf"pid {holder.pid} on host {socket.gethostname()}, since \d{{4}}-"):
            ModelDirLock(tmp_path).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        # The forked worker lives on, and does not hold what its parent held.
        os.kill(worker, 0)
        with ModelDirLock(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        os.kill(worker, signal.SIGKILL)


def test_a_second_training_of_the_same_process_is_refused_and_leaves_the_first_its_lock(tmp_path: Path) -> None:
    with ModelDirLock(tmp_path) as lock:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="this very process"):
                ModelDirLock(tmp_path).__enter__()
        with pytest.raises(RuntimeError, match="entered already"):
            lock.__enter__()
    with ModelDirLock(tmp_path):
        pass


def test_a_holder_that_left_no_name_is_reported_too(tmp_path: Path) -> None:
    with ModelDirLock(tmp_path):
        (tmp_path / ".lock").write_text("{")
        with pytest.raises(RuntimeError, match="just begun"):
            ModelDirLock(tmp_path).__enter__()


def test_the_folder_is_created_or_the_error_names_it(tmp_path: Path) -> None:
    with ModelDirLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for model_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match="`model_dir` cannot be created") as caught:
            ModelDirLock(model_dir).__enter__()
        assert str(model_dir) in str(caught.value)


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with writer_lock(str(tmp_path)):
            order.append("second")

    with writer_lock(str(tmp_path)) as is_alone:
        assert is_alone
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
