"""Ends of trainings."""

import json
import logging
import threading

import pytest

import torchestimator as te
from tests.hooks.training import Calls, input_fn, make_estimator


def last_step(hook):
    return hook.calls[-1][2]


def test_num_steps_count_from_where_the_training_resumes(tmp_path):
    make_estimator(tmp_path, save_checkpoints_steps=100).train(input_fn(), hooks=[te.StopAtStepHook(num_steps=3)])
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    assert estimator.get_variable_value("global_step") == 3
    hook = Calls()
    estimator.train(input_fn(), hooks=[te.StopAtStepHook(num_steps=2), hook])
    assert hook.calls[1] == ("hook", "after_create_session", 3)
    assert last_step(hook) == 5


def test_last_step_is_a_global_step(tmp_path):
    hook = Calls()
    stop = te.StopAtStepHook(last_step=4)
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    estimator.train(input_fn(), steps=3)
    estimator.train(input_fn(), hooks=[stop, hook])
    assert (last_step(hook), stop.last_step) == (4, 4)


def test_one_hook_serves_several_trainings(tmp_path):
    stop = te.StopAtStepHook(num_steps=2)
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    assert stop.last_step is None
    estimator.train(input_fn(), hooks=[stop])
    estimator.train(input_fn(), hooks=[stop])
    assert stop.last_step == estimator.get_variable_value("global_step") == 4


def test_the_input_may_end_before(tmp_path):
    hook = Calls()
    make_estimator(tmp_path).train(input_fn(2), hooks=[te.StopAtStepHook(last_step=50), hook])
    assert last_step(hook) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "Exactly one of `num_steps` and `last_step` must be given"),
        ({"num_steps": 1, "last_step": 1}, ValueError, "Exactly one of `num_steps` and `last_step` must be given"),
        ({"num_steps": 0}, ValueError, "`num_steps` must be at least 1. Received: 0"),
        ({"last_step": -5}, ValueError, "`last_step` must be at least 1. Received: -5"),
        ({"last_step": 1.5}, TypeError, "`last_step` must be a whole number of steps. Received: 1.5"),
    ],
)
def test_stops_without_sense_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        te.StopAtStepHook(**arguments)


def test_waiting_for_a_step_that_is_reached_does_nothing(tmp_path):
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    estimator.train(input_fn(), hooks=[te.GlobalStepWaiterHook(0)], steps=2)
    estimator.train(input_fn(), hooks=[te.GlobalStepWaiterHook(2)], steps=1)
    assert estimator.get_variable_value("global_step") == 3


def test_waiting_for_a_step_that_nobody_will_reach_is_refused(tmp_path):
    hook = Calls()
    with pytest.raises(RuntimeError, match=r"GlobalStepWaiterHook\(5\) .*starts at step 0.*Remove the hook"):
        make_estimator(tmp_path).train(input_fn(), hooks=[te.GlobalStepWaiterHook(5), hook], steps=1)
    assert hook.calls == [("hook", "begin")]


def test_the_chief_stops_at_the_step(tmp_path):
    hook = te.experimental.make_stop_at_checkpoint_step_hook(make_estimator(tmp_path), last_step=3)
    assert isinstance(hook, te.StopAtStepHook)
    assert hook.last_step == 3


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """An Estimator that takes itself for the worker beside a chief."""
    addresses = {"chief": ["localhost:1"], "worker": ["localhost:2"]}
    config = {"cluster": addresses, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    estimator = make_estimator(tmp_path / "shared", save_checkpoints_steps=1, strategy=te.SingleDevice("cpu"))
    monkeypatch.delenv("TF_CONFIG")
    assert not estimator.config.is_chief
    return estimator


def test_a_worker_stops_when_the_checkpoint_of_the_step_is_there(worker, caplog):
    hook, calls = te.experimental.make_stop_at_checkpoint_step_hook(worker, 3, 1000), Calls()
    assert not isinstance(hook, te.StopAtStepHook)
    # On its single device this process saves as well, so it finds each step's checkpoint at once.
    worker.train(input_fn(), hooks=[hook, calls])
    assert last_step(calls) == 3
    assert "Waiting" not in caplog.text


def test_a_worker_waits_for_the_checkpoint_of_the_step(tmp_path, worker, caplog):
    class Chief(logging.Handler):
        """Trains in the shared folder once the worker says that it waits."""

        def emit(self, record):
            if "Waiting for the checkpoint of step 2; the newest is of step -1." in record.getMessage():
                logging.getLogger("torchestimator").removeHandler(self)
                thread.start()

    chief = make_estimator(worker.model_dir, save_checkpoints_steps=100)
    thread = threading.Thread(target=lambda: chief.train(input_fn(), steps=2))
    hook, calls = te.experimental.make_stop_at_checkpoint_step_hook(worker, 2, 0.01), Calls()
    logging.getLogger("torchestimator").addHandler(Chief())
    make_estimator(tmp_path / "own").train(input_fn(), hooks=[hook, calls])
    thread.join()
    assert last_step(calls) == 2
    assert worker.get_variable_value("global_step") == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "`last_step` must be at least 1. Received: 0"),
        ((None,), ValueError, "`last_step` must be given. Received: last_step=None"),
        ((3, -1), ValueError, "`wait_after_file_check_secs` must be at least 0. Received: -1"),
    ],
)
def test_stops_at_checkpoints_without_sense_are_refused(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        te.experimental.make_stop_at_checkpoint_step_hook(make_estimator(tmp_path), *arguments)
