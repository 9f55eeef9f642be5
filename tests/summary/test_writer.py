"""Event writers."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.summary.event_files import events, load
from torchestimator import summary
from torchestimator.summary import writer as writer_module
from torchestimator.summary.reader import read_scalars
from torchestimator.summary.record import Recorder, recording
from torchestimator.summary.writer import EventWriter, NullEventWriter, event_writer


def test_one_step_is_one_event(tmp_path):
    recorder = Recorder()
    with recording(recorder):
        summary.scalar("loss", torch.tensor(0.5))
        summary.histogram("weights", torch.ones(3))
        summary.image("input", torch.zeros(1, 1, 2, 2))
    writer = EventWriter(tmp_path)
    writer.write(recorder.items, 11)
    writer.write([], 12)
    writer.close()
    (event,) = [event for event in events(tmp_path) if event.HasField("summary")]
    assert event.step == 11
    assert [value.tag for value in event.summary.value] == ["loss", "weights", "input/image/0"]


def test_evaluation_results_are_one_event_beside_the_checkpoint(tmp_path):
    writer = EventWriter(tmp_path)
    writer.scalars({"accuracy": 0.75, "loss": torch.tensor(0.5), "steps": 3}, 100)
    writer.tensor_string("checkpoint_path", "/runs/model.ckpt-100", 100)
    writer.flush()
    writer.close()
    read = load(tmp_path)
    assert {tag: read.Scalars(tag)[0].value for tag in read.Tags()["scalars"]} == {
        "accuracy": 0.75,
        "loss": 0.5,
        "steps": 3.0,
    }
    (event,) = read.Tensors("checkpoint_path")
    assert (event.step, event.tensor_proto.string_val[0]) == (100, b"/runs/model.ckpt-100")
    assert "checkpoint_path" not in read.summary_metadata  # no dashboard shows it
    assert len([event for event in events(tmp_path) if event.HasField("summary")]) == 2


def test_results_that_are_no_numbers_are_left_out_with_a_warning(tmp_path, caplog):
    writer = EventWriter(tmp_path)
    writer.scalars({"loss": 0.5, "label": "cat", "names": np.array(["a", "b"]), "phase": 1j}, 4)
    writer.close()
    assert read_scalars(tmp_path) == {4: {"loss": 0.5}}
    assert [record.args[0] for record in caplog.records] == ["label", "names", "phase"]


def test_a_restarted_session_drops_the_later_events_of_the_crashed_one(tmp_path):
    crashed = EventWriter(tmp_path)
    crashed.session_start(1)
    for step in (1, 101, 201):
        crashed.scalars({"loss": float(step)}, step)
    crashed.close()
    resumed = EventWriter(tmp_path)
    resumed.session_start(101)
    resumed.scalars({"loss": -1.0}, 101)
    resumed.close()
    assert [(event.step, event.value) for event in load(tmp_path).Scalars("loss")] == [(1, 1.0), (101, -1.0)]


def test_checkpoints_are_noted(tmp_path):
    writer = EventWriter(tmp_path)
    writer.checkpoint_saved(500, "model.ckpt-500")
    writer.close()
    event = events(tmp_path)[-1]
    assert event.step == 500
    assert event.session_log.status == event.session_log.CHECKPOINT
    assert event.session_log.checkpoint_path == "model.ckpt-500"


def test_the_cache_gives_one_writer_for_each_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = event_writer(tmp_path / "a")
    assert event_writer("a") is writer
    assert event_writer(str(tmp_path / "b" / ".." / "a")) is writer
    assert event_writer("b") is not writer
    assert not (tmp_path / "a").exists()
    for step in (1, 2):
        event_writer("a").scalars({"x": 1.0}, step)
    assert len(list((tmp_path / "a").iterdir())) == 1

    writer.close()
    assert writer.closed
    with pytest.raises(RuntimeError, match="`event_writer"):
        writer.scalars({"x": 1.0}, 3)
    again = event_writer("a")
    assert again is not writer
    again.scalars({"x": 1.0}, 3)
    again.close()
    assert sorted(read_scalars("a")) == [1, 2, 3]


def test_the_cache_keeps_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "_MAX_OPEN_FILES", 3)
    before = len(os.listdir("/proc/self/fd"))
    writers = []
    for index in range(10):
        writers.append(event_writer(tmp_path / str(index)))
        writers[-1].scalars({"x": 1.0}, 1)
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    writers[0].scalars({"x": 2.0}, 2)
    assert read_scalars(tmp_path / "0") == {1: {"x": 1.0}, 2: {"x": 2.0}}
    assert len(list((tmp_path / "0").iterdir())) == 1
    for writer in writers:
        writer.close()


def test_a_process_that_just_ends_leaves_a_whole_file_and_no_warning(tmp_path):
    code = (
        "import sys\n"
        "from torchestimator.summary.writer import event_writer\n"
        "event_writer(sys.argv[1]).scalars({'x': 1.0}, 1)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'PIL')]\n"
        "assert 'tensorboard.compat.tensorflow_stub' not in sys.modules\n"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(tmp_path)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    assert finished.stderr == ""
    assert read_scalars(tmp_path) == {1: {"x": 1.0}}


def test_a_forked_child_uses_the_cache_without_the_parents_file(tmp_path):
    code = (
        "import os, sys\n"
        "from torchestimator.summary import writer\n"
        "writer.event_writer(sys.argv[1]).scalars({'x': 1.0}, 1)\n"
        "writer._lock.acquire()\n"
        "if os.fork() == 0:\n"
        "    writer.event_writer(sys.argv[1]).scalars({'x': 2.0}, 2)\n"
        "    os._exit(0)\n"
        "assert os.wait()[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 2
    assert read_scalars(tmp_path) == {1: {"x": 1.0}, 2: {"x": 2.0}}


class RefuseOperations(TorchDispatchMode):
    """Fails on any tensor operation."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} ran")


def test_the_null_writer_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    with recording(recorder):
        summary.scalar("loss", torch.tensor(0.5))
    writer = NullEventWriter()
    with RefuseOperations():
        writer.session_start(1)
        writer.write(recorder.items, 1)
        writer.checkpoint_saved(1, "model.ckpt-1")
        writer.text("note", "x", 1)
        writer.flush()
        writer.close()
    assert list(tmp_path.iterdir()) == []
