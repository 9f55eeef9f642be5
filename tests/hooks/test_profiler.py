"""Traces of single steps."""

import json

import pytest
import torch

import torchestimator as te
from tests.hooks.training import Calls, input_fn, linear_model_fn, make_estimator


def traces(folder):
    return sorted(int(path.stem.removeprefix("timeline-")) for path in folder.glob("timeline-*.json"))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def test_steps_at_the_cadence_are_recorded_but_not_the_first(tmp_path):
    hook = te.ProfilerHook(save_steps=2, output_dir=str(tmp_path / "traces"))
    make_estimator(tmp_path / "model").train(input_fn(), hooks=[hook], steps=6)
    assert traces(tmp_path / "traces") == [2, 4, 6]


def test_every_step_after_the_first(tmp_path, caplog):
    hook = te.ProfilerHook(save_secs=0, output_dir=str(tmp_path))
    make_estimator(tmp_path / "model").train(input_fn(), hooks=[hook], steps=3)
    assert traces(tmp_path) == [2, 3]
    assert f"Saving the timeline of step 3 to {tmp_path}/timeline-3.json." in caplog.text


def test_a_trace_shows_the_operations_of_one_step(tmp_path):
    hook = te.ProfilerHook(save_steps=2, output_dir=str(tmp_path), show_memory=True)
    make_estimator(tmp_path / "model").train(input_fn(), hooks=[hook], steps=3)
    events = read(tmp_path / "timeline-2.json")
    operations = [event for event in events if event.get("cat") == "cpu_op"]
    assert [event["name"] for event in operations].count("aten::mse_loss") == 1
    assert any("Input Dims" in event.get("args", {}) for event in operations)
    assert any(event["name"] == "[memory]" for event in events)
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_shapes_can_be_left_out(tmp_path):
    hook = te.ProfilerHook(save_steps=2, output_dir=str(tmp_path), show_dataflow=False)
    make_estimator(tmp_path / "model").train(input_fn(), hooks=[hook], steps=2)
    assert not any("Input Dims" in event.get("args", {}) for event in read(tmp_path / "timeline-2.json"))


def test_a_training_that_ends_before_the_cadence_records_nothing(tmp_path):
    hook = te.ProfilerHook(save_steps=100, output_dir=str(tmp_path / "traces"))
    make_estimator(tmp_path / "model").train(input_fn(), hooks=[hook], steps=3)
    assert not (tmp_path / "traces").exists()


def test_a_recording_ends_with_the_input(tmp_path):
    # The input ends in the step that would be recorded.
    hook = te.ProfilerHook(save_steps=3, output_dir=str(tmp_path))
    make_estimator(tmp_path / "model").train(input_fn(2), hooks=[hook])
    assert traces(tmp_path) == []
    assert not torch.autograd._profiler_enabled()


def test_a_recording_that_an_error_broke_off_does_not_hinder_the_next_training(tmp_path):
    calls = 0

    def model_fn(features, labels, mode):
        nonlocal calls
        calls += 1
        if calls == 3:  # the building call, step 1, step 2
            raise ZeroDivisionError
        return linear_model_fn(features, labels, mode)

    hook = te.ProfilerHook(save_steps=2, output_dir=str(tmp_path))
    estimator = make_estimator(tmp_path / "model", model_fn)
    with pytest.raises(ZeroDivisionError):
        estimator.train(input_fn(), hooks=[hook], steps=5)
    seen = Calls()
    estimator.train(input_fn(), hooks=[hook, seen], steps=2)
    assert seen.calls[-1] == ("hook", "end", 2)
    assert traces(tmp_path) == [2]
    assert "aten::mse_loss" in [event["name"] for event in read(tmp_path / "timeline-2.json")]
