"""The process that evaluates while others train."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import torchestimator as te
from tests.models import AtStep, config, linear_input, linear_model_fn, messages, steps_saved
from tests.summary.event_files import load
from torchestimator.checkpoint import Checkpoint, CheckpointDamagedError, CheckpointStore
from torchestimator.estimator.best import BestCheckpoint
from torchestimator.estimator.evaluation import Evaluation
from torchestimator.estimator.evaluator import LABEL, EndOfTraining, Evaluator

ROOT = Path(__file__).parents[2]
CLUSTER = {"chief": ["localhost:2222"]}


def tf_config(task_type, index=0, cluster=CLUSTER):
    return json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})


@pytest.fixture
def estimator(tmp_path, monkeypatch):
    """Makes the Estimator of a process with a role."""

    def make(task_type, index=0, **settings):
        monkeypatch.setenv("TF_CONFIG", tf_config(task_type, index))
        settings = {"save_checkpoints_steps": 2, "model_dir": str(tmp_path), **settings}
        return te.Estimator(linear_model_fn, config=config(**settings), params={})

    return make


class Calls(te.Exporter):
    """Notes what it is called with, and does something the first time."""

    def __init__(self, first=lambda: None):
        self.calls = []
        self.checked = []
        self._first = first

    @property
    def name(self):
        return "calls"

    def check(self, estimator, checkpoint_path):
        self.checked.append(os.path.basename(checkpoint_path))

    def export(self, estimator, export_path, checkpoint_path, eval_result, is_the_final_export):
        assert eval_result["global_step"] == Checkpoint(checkpoint_path).step
        self.calls.append((os.path.basename(checkpoint_path), is_the_final_export))
        if len(self.calls) == 1:
            self._first()
        return checkpoint_path


def eval_spec(exporter=None, **settings):
    defaults = {"steps": None, "start_delay_secs": 0, "throttle_secs": 0}
    exporters = [] if exporter is None else [exporter]
    return te.EvalSpec(**{"input_fn": linear_input(num_epochs=1), "exporters": exporters, **defaults, **settings})


def evaluated(model_dir):
    return [event.step for event in load(model_dir / "eval").Scalars("loss")]


def follow(estimator, max_steps, *specs):
    """What the evaluator does, looking for checkpoints more often."""
    best = BestCheckpoint(estimator.model_dir)
    evaluations = [Evaluation(estimator, spec, best if index == 0 else None) for index, spec in enumerate(specs)]
    Evaluator(estimator, max_steps, evaluations, poll_secs=0.01).run()


def test_a_complete_training_is_evaluated_once(tmp_path, estimator):
    estimator("chief").train(linear_input(), max_steps=5)
    exporter = Calls()
    evaluator = estimator("evaluator")
    results, exports = te.train_and_evaluate(
        evaluator, te.TrainSpec(linear_input(), 5), [eval_spec(exporter), eval_spec(name="more")]
    )
    assert exporter.calls == [("model.ckpt-5", True)]
    assert exporter.checked == ["model.ckpt-5"]
    assert evaluated(tmp_path) == [5]
    assert exports == [str(tmp_path / "model.ckpt-5")]
    assert results["eval"] == results["more"] == evaluator.evaluate(linear_input(num_epochs=1))
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 5
    assert CheckpointStore(tmp_path).pinned(LABEL) is None


def test_the_chief_leaves_evaluations_to_the_evaluator_and_says_when_training_has_ended(tmp_path, estimator):
    chief = estimator("chief")
    spec = te.TrainSpec(linear_input(num_epochs=1))
    assert te.train_and_evaluate(chief, spec, eval_spec()) == (None, None)
    assert not (tmp_path / "eval").exists()
    assert json.loads((tmp_path / "training_end.json").read_text())["step"] == 6
    # The end was not foreseeable, and the evaluator gets there all the same.
    exporter = Calls()
    te.train_and_evaluate(estimator("evaluator"), spec, eval_spec(exporter))
    assert exporter.calls == [("model.ckpt-6", True)]


def test_a_restart_takes_the_note_back_and_a_failure_writes_none(tmp_path, estimator):
    EndOfTraining(str(tmp_path)).note(3)

    def stop():
        assert not EndOfTraining(str(tmp_path)).is_noted()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        te.train_and_evaluate(estimator("chief"), te.TrainSpec(linear_input(), 9, [AtStep(3, stop)]), eval_spec())
    assert not EndOfTraining(str(tmp_path)).is_noted()
    assert steps_saved(tmp_path)[-1] == 3


def test_with_a_master_the_training_processes_evaluate(tmp_path, monkeypatch, estimator):
    made = estimator("chief")
    monkeypatch.setenv("TF_CONFIG", tf_config("master", cluster={"master": ["localhost:2222"]}))
    made = te.Estimator(linear_model_fn, config=config(model_dir=str(tmp_path), save_checkpoints_steps=2), params={})
    te.train_and_evaluate(made, te.TrainSpec(linear_input(), 4), eval_spec())
    assert evaluated(tmp_path) == [2, 4]
    assert not EndOfTraining(str(tmp_path)).is_noted()


def test_the_newest_checkpoint_is_kept_while_it_is_evaluated_and_the_next_one_follows(tmp_path, estimator):
    chief = estimator("chief", keep_checkpoint_max=1)
    chief.train(linear_input(), max_steps=2)
    data = linear_input(num_epochs=1)
    rounds = []

    def slow_input():
        rounds.append(steps_saved(tmp_path)[-1])
        if len(rounds) == 1:
            chief.train(linear_input(), max_steps=8)
            assert steps_saved(tmp_path) == [2, 8]
        return data()

    exporter = Calls()
    follow(estimator("evaluator"), 8, eval_spec(exporter, input_fn=slow_input))
    assert exporter.calls == [("model.ckpt-2", False), ("model.ckpt-8", True)]
    assert evaluated(tmp_path) == [2, 8]


def test_a_checkpoint_that_is_replaced_meanwhile_is_evaluated_again(tmp_path, estimator):
    chief = estimator("chief")
    chief.train(linear_input(), max_steps=2)

    def save_again():
        checkpoint = Checkpoint(tmp_path / "model.ckpt-2")
        model = {name: checkpoint.read_model(name) + 1 for name in checkpoint.model_shapes}
        CheckpointStore(tmp_path).save(2, model, {}, checkpoint.state)

    exporter = Calls(save_again)
    follow(estimator("evaluator"), 2, eval_spec(exporter))
    assert exporter.calls == [("model.ckpt-2", True)] * 2
    losses = [event.value for event in load(tmp_path / "eval").Scalars("loss")]
    assert losses[0] != losses[1]


def test_throttling_and_the_last_one_which_always_happens(tmp_path, estimator, caplog):
    chief = estimator("chief")
    chief.train(linear_input(), max_steps=2)
    first = Calls(lambda: chief.train(linear_input(), max_steps=4))
    second = Calls()

    def finish():
        while not any(line == "Waiting; the newest checkpoint is of step 4." for line in messages(caplog)):
            time.sleep(0.01)
        EndOfTraining(str(tmp_path)).note(4)

    thread = threading.Thread(target=finish)
    thread.start()
    follow(estimator("evaluator"), None, eval_spec(first, throttle_secs=600), eval_spec(second, name="often"))
    thread.join()
    assert first.calls == [("model.ckpt-2", False), ("model.ckpt-4", True)]
    # It had evaluated the last checkpoint before anyone knew that it was the last: exporters hear of it later.
    assert second.calls[-2:] == [("model.ckpt-4", False), ("model.ckpt-4", True)]
    assert evaluated(tmp_path) == [2, 4]


def test_nothing_happens_before_the_start_delay(tmp_path, estimator):
    estimator("chief").train(linear_input(), max_steps=2)
    EndOfTraining(str(tmp_path)).note(2)
    late, early = Calls(), Calls(lambda: seen.append(len(late.calls)))
    seen = []
    follow(estimator("evaluator"), None, eval_spec(late, name="late", start_delay_secs=0.5), eval_spec(early))
    assert seen == [0]
    assert late.calls == early.calls == [("model.ckpt-2", True)]


def test_a_training_without_checkpoints_ends_the_evaluator(tmp_path, estimator, caplog):
    EndOfTraining(str(tmp_path)).note(None)
    assert te.train_and_evaluate(estimator("evaluator"), te.TrainSpec(linear_input(), 2), eval_spec()) == (None, None)
    assert "there is nothing to evaluate" in caplog.text


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_passed_over_unless_it_is_the_last(tmp_path, estimator, caplog):
    chief = estimator("chief")
    chief.train(linear_input(), max_steps=2)
    flip(tmp_path / "model.ckpt-2" / "model.safetensors")

    def repair():
        while "is passed over" not in caplog.text:
            time.sleep(0.01)
        for step in (0, 2):
            for path in sorted((tmp_path / f"model.ckpt-{step}").iterdir()):
                path.unlink()
            (tmp_path / f"model.ckpt-{step}").rmdir()
        chief.train(linear_input(), max_steps=4)

    thread = threading.Thread(target=repair)
    thread.start()
    exporter = Calls()
    follow(estimator("evaluator"), 4, eval_spec(exporter))
    thread.join()
    assert exporter.calls[-1] == ("model.ckpt-4", True)
    flip(tmp_path / "model.ckpt-4" / "model.safetensors")
    with pytest.raises(CheckpointDamagedError, match=r"model.ckpt-4"):
        follow(estimator("evaluator"), 4, eval_spec())


def test_errors_of_evaluations_and_exporters_end_it(tmp_path, estimator):
    estimator("chief").train(linear_input(), max_steps=2)

    def broken():
        raise FileNotFoundError("rows.csv")

    with pytest.raises(FileNotFoundError, match=r"rows.csv"):
        follow(estimator("evaluator"), 2, eval_spec(input_fn=broken))
    with pytest.raises(FileNotFoundError, match=r"rows.csv"):
        follow(estimator("evaluator"), 2, eval_spec(Calls(broken)))
    assert CheckpointStore(tmp_path).pinned(LABEL) is None


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_signals_end_it_whatever_it_does(tmp_path, estimator, number, error):
    def end():
        os.kill(os.getpid(), number)

    threading.Timer(0.1, end).start()
    with pytest.raises(error):
        follow(estimator("evaluator"), 2, eval_spec())
    estimator("chief").train(linear_input(), max_steps=2)
    with pytest.raises(error):
        follow(estimator("evaluator"), 2, eval_spec(Calls(end)))
    assert CheckpointStore(tmp_path).pinned(LABEL) is None


def test_there_is_one_evaluator(estimator):
    with pytest.raises(ValueError, match=r"There can be one evaluator, of index 0.*Received: 1"):
        te.train_and_evaluate(estimator("evaluator", 1), te.TrainSpec(linear_input(), 2), eval_spec())


PROGRAM = """
import sys, time
import torchestimator as te
from tests.models import AtStep, config, linear_input, linear_model_fn

estimator = te.Estimator(linear_model_fn, config=config(model_dir="model", save_checkpoints_steps=5), params={})
data = linear_input(num_epochs=1)
hooks = [AtStep(step, lambda: time.sleep(0.3)) for step in range(0, 60, 5)]
results, exports = te.train_and_evaluate(
    estimator,
    te.TrainSpec(linear_input(num_epochs=10), hooks=hooks),
    te.EvalSpec(data, steps=None, start_delay_secs=0, throttle_secs=0),
)
print(results and int(results["global_step"]), estimator.config.is_chief)
"""


def test_two_processes_with_a_role_each(tmp_path):
    """Neither knows when training will end, the evaluator is there first, and both end by themselves."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def start(task_type):
        return subprocess.Popen(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CONFIG": tf_config(task_type)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    processes = [start("evaluator"), start("chief")]
    try:
        (output, errors), (chief_output, chief_errors) = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors + chief_errors
    assert (output, chief_output) == ("55 False\n", "None True\n")
    assert "the evaluator of its cluster" in errors
    assert "Waiting" in errors
    steps = evaluated(tmp_path / "model")
    assert steps == sorted(set(steps))
    assert steps[-1] == 55
    assert json.loads((tmp_path / "model" / "best.json").read_text())["step"] in steps
