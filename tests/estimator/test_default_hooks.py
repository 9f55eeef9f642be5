"""Which hooks a training has by default, and when it goes without."""

import pytest
import torch

import torchestimator as te
from tests.models import config
from torchestimator.checkpoint import CheckpointStore
from torchestimator.estimator.default_hooks import training_hooks


class Mine(te.SessionRunHook):
    """A hook of the user."""


def spec(**hooks):
    loss = torch.zeros((), requires_grad=True)
    return te.EstimatorSpec("train", loss=loss, train_op=lambda: None, **hooks)


def names(tmp_path, settings, user_hooks=(), listeners=(), stop=None, given=None):
    store = CheckpointStore(tmp_path)
    hooks = training_hooks(config(**settings), store, given or spec(), user_hooks, listeners, stop)
    return [type(hook).__name__ for hook in hooks]


ALL = {"save_checkpoints_steps": 5, "save_summary_steps": 5, "log_step_count_steps": 5}


def test_all_of_them_in_their_order(tmp_path):
    given = spec(training_chief_hooks=[Mine()], training_hooks=[te.FinalOpsHook("loss")])
    assert names(tmp_path, ALL, [te.FeedFnHook(dict)], stop=te.StopAtStepHook(1), given=given) == [
        "CheckpointSaverHook",
        "Mine",
        "StepCounterHook",
        "SummarySaverHook",
        "FeedFnHook",
        "StopAtStepHook",
        "NanTensorHook",
        "LoggingTensorHook",
        "FinalOpsHook",
    ]


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"save_checkpoints_steps": None}, {"CheckpointSaverHook"}),
        ({"save_checkpoints_steps": 0}, {"CheckpointSaverHook"}),
        ({"save_summary_steps": None}, {"SummarySaverHook"}),
        ({"save_summary_steps": 0}, {"SummarySaverHook"}),
        ({"log_step_count_steps": None}, {"StepCounterHook", "LoggingTensorHook"}),
    ],
)
def test_what_the_config_switches_off(tmp_path, settings, missing):
    every = {"CheckpointSaverHook", "StepCounterHook", "SummarySaverHook", "NanTensorHook", "LoggingTensorHook"}
    assert set(names(tmp_path, {**ALL, **settings})) == every - missing


def test_a_progress_bar_takes_the_place_of_the_lines(tmp_path):
    found = names(tmp_path, {**ALL, "progress_bar": True})
    assert "LoggingTensorHook" not in found
    assert "ProgressBarHook" in found


def test_listeners_go_to_the_first_saver_and_only_once(tmp_path):
    listener = te.CheckpointSaverListener()
    savers = [te.CheckpointSaverHook(str(tmp_path), save_steps=9) for _ in range(2)]
    savers[0].listeners.append(listener)
    for _ in range(2):
        assert names(tmp_path, ALL, savers, [listener]).count("CheckpointSaverHook") == 2
    assert [saver.listeners for saver in savers] == [[listener], []]


def test_a_saver_of_the_spec_counts(tmp_path):
    saver = te.CheckpointSaverHook(str(tmp_path), save_steps=9)
    listener = te.CheckpointSaverListener()
    assert names(tmp_path, ALL, listeners=[listener], given=spec(training_hooks=[saver]))[-1] == "CheckpointSaverHook"
    assert saver.listeners == [listener]
