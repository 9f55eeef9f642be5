"""Crashes: a process that dies at any moment of saving, and what must be on disk when the machine does."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchestimator.checkpoint import CheckpointStore


@pytest.mark.parametrize(("mode", "stride"), [("kill", 1), ("background", 4), ("interrupt", 4)])
def test_saving_may_be_stopped_at_any_call(mode: str, stride: int) -> None:
    # -W ignore: the driver forks while torch's idle threads exist, which later Pythons warn of.
    command = [sys.executable, "-W", "ignore", "-m", "tests.checkpoint.crash_driver", mode, str(stride)]
    # A killed process loses nothing that it gave to the system: memory will do for a disk, and is faster.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        result = subprocess.run(
            [*command, folder], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
        )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) * stride > 60


class _Recorder:
    """Notes the calls that decide what a power cut leaves, with the paths that they concern."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self._paths: dict[int, str] = {}
        for name in ("open", "write", "fsync", "rename", "replace"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            if name == "open":
                self._paths[result] = os.fspath(arguments[0])
            elif name in {"write", "fsync"}:
                self.calls.append((name, self._paths.get(arguments[0], "")))
            else:
                self.calls.append((name, arguments[1]))
            return result

        return replacement

    def last(self, name: str, path: str) -> int:
        return max(index for index, call in enumerate(self.calls) if call == (name, path))

    def first(self, name: str, path: str) -> int:
        return self.calls.index((name, path))


def test_all_is_flushed_before_it_gets_its_name_and_the_name_before_the_next_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_dir = str(tmp_path / "runs")
    with monkeypatch.context() as patch:
        recorder = _Recorder(patch)
        path = CheckpointStore(model_dir).save(1, {"w": torch.zeros(20_000_000)}, {"w/m": torch.zeros(3)}, {})
    named = recorder.first("rename", path)
    staged = next(call_path for name, call_path in recorder.calls if ".tmp/" in call_path).rsplit("/", 1)[0]
    for name in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"):
        file = f"{staged}/{name}"
        assert recorder.last("write", file) < recorder.last("fsync", file) < recorder.last("fsync", staged) < named
    assert all(
        recorder.last("fsync", f"{staged}/{name}") < recorder.first("write", f"{staged}/manifest.json")
        for name in ("model.safetensors", "optimizer.safetensors", "state.json")
    )
    folder_flushes = [index for index, call in enumerate(recorder.calls) if call == ("fsync", model_dir)]
    index_named = recorder.first("replace", f"{model_dir}/checkpoint")
    index_staged = f"{model_dir}/.checkpoint.tmp"
    assert named < folder_flushes[0] < recorder.first("write", index_staged)
    assert recorder.last("write", index_staged) < recorder.last("fsync", index_staged) < index_named
    assert index_named < folder_flushes[-1]
    assert recorder.first("fsync", str(tmp_path)) < named
