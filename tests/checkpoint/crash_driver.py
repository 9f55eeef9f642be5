"""Saves checkpoints in child processes that are stopped at each of their calls to the operating system in turn.

`python -m tests.checkpoint.crash_driver kill 1 FOLDER` kills the child with SIGKILL at its k-th call, for every k until
a child lives to the end; `background 1` does so while a thread saves; `interrupt 3` sends Ctrl-C instead, which the
child survives, at every third call. After each the
parent looks whether the `model_dir` still has what it must have and whether saving goes on. Prints the number of
children that were stopped.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch

from torchestimator.checkpoint import BackgroundSaver, Checkpoint, CheckpointStore

_CALLS = ["mkdir", "open", "write", "fsync", "rename", "replace", "unlink", "rmdir"]

# What each child saves, in order: (step, mark). Retention deletes with the second one, the third replaces the second.
_SAVES = [(2, 2.0), (3, 3.0), (3, 3.5)]


def _save(store: CheckpointStore | BackgroundSaver, step: int, mark: float) -> None:
    values = torch.full((3000,), mark)
    store.save(step, {"w": values, "tied": values}, {"w/exp_avg": -values}, {"mark": mark})
    if isinstance(store, BackgroundSaver):
        values.zero_()
        store.wait()


def _mark_of(checkpoint: Checkpoint) -> float:
    model, optimizer = {"w": torch.zeros(3000), "tied": torch.zeros(3000)}, {"w/exp_avg": torch.zeros(3000)}
    checkpoint.load(model, optimizer)
    mark: float = checkpoint.state["mark"]
    assert torch.equal(model["w"], torch.full((3000,), mark))
    assert torch.equal(optimizer["w/exp_avg"], -model["w"])
    return mark


def _stop_at_call(number: int, stop: Callable[[], None]) -> None:
    """Makes the `number`-th call of this process stop it: before it, or for a write after half of it."""
    lock = threading.Lock()
    num_calls = 0

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:
            nonlocal num_calls
            with lock:
                num_calls += 1
                is_last = num_calls == number
            if is_last:
                if name == "write":
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                stop()
            return call(*arguments, **options)

        return replacement

    for name in _CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


def _child(model_dir: str, number: int, mode: str, report: int) -> None:
    """Saves and reports each save that returned; a kill ends this process, Ctrl-C only the save."""
    tell = os.write
    store: CheckpointStore | BackgroundSaver = CheckpointStore(model_dir, keep_checkpoint_max=2)
    if mode == "background":
        store = BackgroundSaver(store)
    _stop_at_call(number, lambda: os.kill(os.getpid(), signal.SIGINT if mode == "interrupt" else signal.SIGKILL))
    for step, mark in _SAVES:
        try:
            _save(store, step, mark)
        except KeyboardInterrupt:
            tell(report, b"interrupted\n")
            return
        tell(report, f"{mark}\n".encode())
    tell(report, b"finished\n")


def _run_child(model_dir: str, number: int, mode: str) -> list[str]:
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(receiver)
            _child(model_dir, number, mode, sender)
            status = 0
        finally:
            os._exit(status)
    os.close(sender)
    with open(receiver) as file:
        lines = file.read().split()
    _, status = os.waitpid(child, 0)
    expected = -signal.SIGKILL if mode != "interrupt" and "finished" not in lines else 0
    assert os.waitstatus_to_exitcode(status) == expected, (number, lines, status)
    return lines


def _check(model_dir: str, lines: list[str]) -> None:
    """After a stop: the last save that returned, or a later one, is whole; the next one works and cleans up."""
    marks = [1.0] + [mark for _, mark in _SAVES]
    saved = [1.0] + [float(line) for line in lines if line not in ("finished", "interrupted")]
    store = CheckpointStore(model_dir, keep_checkpoint_max=2)
    latest = store.latest()
    assert latest is not None
    mark = _mark_of(Checkpoint(latest))
    assert marks.index(mark) - marks.index(saved[-1]) in (0, 1), (mark, saved)
    assert store.load_newest_valid(_mark_of) == mark
    _save(store, 9, 9.0)
    assert store.load_newest_valid(_mark_of) == 9.0
    names = {os.path.basename(path) for path in store.all()}
    assert len(names) <= 2
    assert set(os.listdir(model_dir)) == names | {"checkpoint", ".checkpoint.lock"}, os.listdir(model_dir)


def main(mode: str, stride: int, folder: str) -> None:
    """Stops child after child, each some calls later than the one before."""
    torch.set_num_threads(1)
    num_stopped = 0
    while True:
        model_dir = os.path.join(folder, str(num_stopped))
        _save(CheckpointStore(model_dir, keep_checkpoint_max=2), 1, 1.0)
        lines = _run_child(model_dir, 1 + num_stopped * stride, mode)
        _check(model_dir, lines)
        shutil.rmtree(model_dir)
        if "finished" in lines:
            break
        num_stopped += 1
    print(num_stopped)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
