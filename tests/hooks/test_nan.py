"""Losses that are NaN."""

import contextlib
import os

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.hooks.training import Calls, data, input_fn, linear_model_fn, lines, make_estimator, nan_from
from torchestimator.estimator.training import Training
from torchestimator.trainer.train import train


def saved_steps(model_dir):
    return sorted(int(name.rpartition("-")[2]) for name in os.listdir(model_dir) if name.startswith("model.ckpt-"))


@pytest.mark.parametrize(("every", "noticed"), [(1, 5), (2, 5), (4, 5), (6, 7)])
def test_a_nan_is_an_error_at_the_next_reading(tmp_path, caplog, every, noticed):
    hook = Calls()
    estimator = make_estimator(tmp_path, log_step_count_steps=every)
    with pytest.raises(te.NanLossDuringTrainingError, match=f"NaN at or before step {noticed}. Lower the learning"):
        estimator.train(nan_from(5), hooks=[hook], steps=50)
    assert hook.calls[-1] == ("hook", "after_run", noticed)
    assert f"The loss became NaN at or before step {noticed}." in caplog.text


def test_without_log_lines_a_nan_is_noticed_as_well(tmp_path):
    with pytest.raises(te.NanLossDuringTrainingError, match="step 101"):
        make_estimator(tmp_path).train(nan_from(5), steps=200)


def test_the_first_step_is_read(tmp_path):
    with pytest.raises(te.NanLossDuringTrainingError, match="step 1"):
        make_estimator(tmp_path).train(nan_from(1), steps=200)


@pytest.mark.parametrize("hook", [te.StopAtStepHook(last_step=7), te.FinalOpsHook("loss")])
def test_no_hook_takes_a_spoilt_training_for_a_finished_one(tmp_path, hook):
    # Readings are 100 steps apart, the training ends before the second one.
    seen = Calls()
    with pytest.raises(te.NanLossDuringTrainingError, match="step 7"):
        make_estimator(tmp_path).train(nan_from(5), hooks=[seen, hook], max_steps=7)
    assert seen.calls[-1] == ("hook", "after_run", 7)


def test_a_nan_is_noticed_when_the_input_has_ended(tmp_path):
    x, y = data(20)
    y[17] = np.nan
    numbers = te.inputs.numpy_input_fn(x, y, 4, shuffle=False)
    hook = Calls()
    with pytest.raises(te.NanLossDuringTrainingError):
        make_estimator(tmp_path, save_checkpoints_steps=2).train(numbers, hooks=[hook])
    assert hook.calls[-1][1] == "before_run"
    assert saved_steps(tmp_path) == [0, 2, 4]
    with pytest.raises(te.NanLossDuringTrainingError, match="step 5"):
        make_estimator(tmp_path / "unsaved").train(numbers)


def test_infinity_passes(tmp_path):
    def model_fn(features, labels, mode):
        spec = linear_model_fn(features, labels, mode)
        return spec._replace(loss=spec.loss + torch.inf)

    estimator = make_estimator(tmp_path, model_fn, log_step_count_steps=1)
    estimator.train(input_fn(), steps=3)


@pytest.mark.parametrize("last", [5, 6, 50])
def test_nothing_is_saved_from_the_nan_on(tmp_path, last):
    listener = Listener()
    estimator = make_estimator(tmp_path, save_checkpoints_steps=2)
    with pytest.raises(te.NanLossDuringTrainingError):
        estimator.train(nan_from(5), max_steps=last, saving_listeners=[listener])
    assert saved_steps(tmp_path) == [0, 2, 4]
    assert listener.steps == [0, 2, 4]
    assert estimator.get_variable_value("global_step") == 4
    assert np.isfinite(estimator.get_variable_value("net.weight")).all()


class Listener(te.CheckpointSaverListener):
    def __init__(self):
        self.steps = []

    def before_save(self, session, global_step_value):
        self.steps.append(global_step_value)

    def end(self, session, global_step_value):
        self.steps.append("end")


@contextlib.contextmanager
def watched_by(hook, estimator, batches):
    """A training opened as Estimator.train does it, with that hook as its only watch for NaN."""
    with Training(estimator._blueprint, estimator._models, batches, None, 20) as training:
        assert training.open([], [])
        hooks = [hook if isinstance(other, te.NanTensorHook) else other for other in training.hooks]
        yield training.session, hooks


@pytest.mark.parametrize("nan_step", [5, 6])
def test_with_a_warning_training_stops_cleanly_and_keeps_the_last_good_checkpoint(tmp_path, caplog, nan_step):
    # At step 6 a checkpoint is due, at step 5 not.
    seen = Calls()
    estimator = make_estimator(tmp_path, save_checkpoints_steps=3)
    hook = te.NanTensorHook(fail_on_nan_loss=False)
    with watched_by(hook, estimator, nan_from(nan_step)) as (session, hooks):
        train(session, [*hooks, seen])
    assert seen.calls[-1] == ("hook", "end", nan_step)
    assert saved_steps(tmp_path) == [0, 3]
    assert caplog.text.count(f"The loss became NaN at or before step {nan_step}.") == 1
    assert f"no checkpoint of step {nan_step} is written" in lines(caplog)[-1]


def test_a_hook_may_be_used_again(tmp_path):
    hook, seen = te.NanTensorHook(every_n_steps=100), Calls()
    with watched_by(hook, make_estimator(tmp_path), input_fn(2)) as (session, hooks):
        train(session, hooks)
    with (
        watched_by(hook, make_estimator(tmp_path), nan_from(1)) as (session, hooks),
        pytest.raises(te.NanLossDuringTrainingError, match="step 1"),
    ):
        train(session, [*hooks, seen])
    assert seen.calls[-1] == ("hook", "before_run", 0)


def test_a_saver_that_is_used_again_does_not_take_the_end_of_the_input_for_a_stop(tmp_path):
    saver, seen = te.CheckpointSaverHook(tmp_path, save_steps=100), Calls()
    estimator = make_estimator(tmp_path)
    estimator.train(input_fn(), hooks=[saver], steps=3)
    x, y = data(8)
    y[7] = np.nan
    with pytest.raises(te.NanLossDuringTrainingError):
        estimator.train(te.inputs.numpy_input_fn(x, y, 4, shuffle=False), hooks=[saver, seen])
    assert seen.calls[-1] == ("hook", "before_run", 5)


def test_the_error_is_a_runtime_error_with_a_message():
    assert issubclass(te.NanLossDuringTrainingError, RuntimeError)
    assert str(te.NanLossDuringTrainingError()) == "The loss became NaN."


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss_tensor": "mse"}, ValueError, "`loss_tensor` must be \"loss\".*Received: 'mse'"),
        ({"every_n_steps": 0}, ValueError, "`every_n_steps` must be at least 1. Received: 0"),
        ({"every_n_steps": None}, ValueError, "`every_n_steps` must be given"),
        ({"every_n_steps": 0.5}, TypeError, "`every_n_steps` must be a whole number of steps"),
    ],
)
def test_arguments_without_sense_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        te.NanTensorHook(**arguments)
