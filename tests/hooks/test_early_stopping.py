"""Ends of trainings by what their evaluations say."""

import math

import pytest
import torch

import torchestimator as te
from tests.hooks.training import Calls, input_fn, linear_model_fn, lines, make_estimator

higher = te.experimental.stop_if_higher_hook
lower = te.experimental.stop_if_lower_hook
no_increase = te.experimental.stop_if_no_increase_hook
no_decrease = te.experimental.stop_if_no_decrease_hook
NAN = math.nan


def scored_model_fn(curve):
    """Evaluates to `curve[step - 1]` after that many steps; None: without the metric."""

    def model_fn(features, labels, mode):
        spec = linear_model_fn(features, labels, mode)
        if mode != te.ModeKeys.EVAL:
            return spec
        score = curve[int(te.get_global_step()) - 1]
        return spec._replace(eval_metric_ops={} if score is None else {"score": te.metrics.mean(torch.tensor(score))})

    return model_fn


def last_step(folder, curve, make_hook, name=None, **arguments):
    """The step at which a training of as many steps as the curve has ends."""
    estimator = make_estimator(folder, scored_model_fn(curve), save_checkpoints_steps=1)
    arguments = {"run_every_secs": None, "run_every_steps": 1, **arguments}
    hooks = [make_hook(estimator, "score", **arguments), Calls()]
    te.train_and_evaluate(
        estimator,
        te.TrainSpec(input_fn(), max_steps=len(curve), hooks=hooks),
        te.EvalSpec(input_fn(1), throttle_secs=0, name=name),
    )
    return hooks[1].calls[-1][2]


@pytest.mark.parametrize(
    ("make_hook", "threshold", "curve", "last"),
    [
        (higher, 0.5, [0.1, 0.5, 0.75, 1.0], 3),
        (higher, 0.5, [0.1, 0.5, 0.5, 0.5], 4),
        (higher, 0.5, [NAN, 0.5, NAN, 1.0, 1.0], 4),
        (lower, 0.5, [0.9, 0.5, 0.25, 0.1], 3),
        (lower, 0.5, [0.9, 0.5, 0.5, 0.5], 4),
    ],
)
def test_a_threshold_must_be_passed_strictly(tmp_path, caplog, make_hook, threshold, curve, last):
    assert last_step(tmp_path, curve, make_hook, threshold=threshold) == last
    passed = f"At step {last} the metric 'score' is {curve[last - 1]:g}, "
    assert (passed in caplog.text) == (last < len(curve))
    assert (f"Requesting early stopping at global step {last}." in caplog.text) == (last < len(curve))


@pytest.mark.parametrize(
    ("curve", "patience", "last"),
    [
        ([1, 2, 3, 3, 3, 3, 3], 3, 6),  # ties are no increase
        ([1, 2, 3, 2, 2, 4, 1, 1, 1], 3, 9),  # the patience starts anew at 6
        ([5, 1, 2, 3, 4, 6], 2, 3),
        ([5, 1, 6, 7, 8, 9], 2, 6),
        ([1, 2, 3, 4], 1, 4),
        ([2, 2, 3], 1, 2),
        ([NAN, 2, 3, 4, 5, 6], 2, 6),  # NaN does not stay the best
        ([1, NAN, NAN, 2, 3], 2, 3),  # nor is it an increase
        ([NAN, NAN, NAN, NAN], 2, 3),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_training_ends_when_nothing_has_become_better_for_long(tmp_path, caplog, curve, patience, last, sign):
    if sign == 1:
        assert last_step(tmp_path, curve, no_increase, max_steps_without_increase=patience) == last
    else:
        curve = [-value for value in curve]
        assert last_step(tmp_path, curve, no_decrease, max_steps_without_decrease=patience) == last
    change = "increase" if sign == 1 else "decrease"
    stopped = f"The metric 'score' shows no {change} for {patience} steps." in caplog.text
    assert stopped or last == len(curve)


def test_earlier_evaluations_do_not_count(tmp_path):
    assert last_step(tmp_path / "0", [9, 9, 9, 9, 9], higher, threshold=5, min_steps=4) == 4
    assert last_step(tmp_path / "1", [9, 1, 1, 2, 3], no_increase, max_steps_without_increase=2, min_steps=2) == 5


def test_the_cadence_in_steps(tmp_path):
    assert last_step(tmp_path / "0", [9] * 9, higher, threshold=5, run_every_steps=4) == 1
    assert last_step(tmp_path / "1", [1, *[9] * 8], higher, threshold=5, run_every_steps=4) == 5


def test_the_cadence_in_seconds(tmp_path):
    arguments = {"threshold": 5, "run_every_steps": None}
    assert last_step(tmp_path / "0", [1, 9, 9], higher, run_every_secs=0, **arguments) == 2
    # The first question comes after the first step, the second one too late.
    assert last_step(tmp_path / "1", [1, 9, 9], higher, run_every_secs=1e6, **arguments) == 3


def test_a_resumed_training_remembers_the_evaluations(tmp_path):
    arguments = {"max_steps_without_increase": 4}
    assert last_step(tmp_path, [5, 1, 1], no_increase, **arguments) == 3
    assert last_step(tmp_path, [5, 1, 1, 1, 1, 1, 1], no_increase, **arguments) == 5


def test_a_metric_may_be_missing_at_times(tmp_path):
    assert last_step(tmp_path, [1.0, None, None, 9.0], no_increase, max_steps_without_increase=9) == 4


def test_a_metric_that_no_evaluation_has_is_an_error(tmp_path):
    message = r"`metric_name` must be a metric of the evaluations in .*eval, which have \['loss'\]. Received: 'score'"
    with pytest.raises(ValueError, match=message):
        last_step(tmp_path, [None, None, None], higher, threshold=1)


def test_without_evaluations_training_goes_on(tmp_path, caplog):
    estimator = make_estimator(tmp_path)
    hook, seen = higher(estimator, "score", 0, run_every_secs=0), Calls()
    estimator.train(input_fn(), hooks=[hook, seen], steps=5)
    assert seen.calls[-1][2] == 5
    assert "Early stopping" not in caplog.text


def test_a_named_evaluation_is_watched_in_its_own_folder(tmp_path, caplog):
    folder = make_estimator(tmp_path).eval_dir("held_out")
    assert last_step(tmp_path, [1, 9, 9], higher, "held_out", threshold=5, eval_dir=folder) == 2
    assert "Early stopping finds no" not in caplog.text


def test_watching_the_wrong_folder_is_told_once(tmp_path, caplog):
    assert last_step(tmp_path, [1, 9, 9], higher, "held_out", threshold=5) == 3
    (warning,) = [line for line in lines(caplog) if line.startswith("Early stopping finds no evaluation")]
    assert "eval_held_out" in warning
    assert 'eval_dir=estimator.eval_dir("name")' in warning


def test_nothing_is_kept_in_the_checkpoint(tmp_path):
    assert last_step(tmp_path, [1, 9, 9], higher, threshold=5) == 2
    estimator = make_estimator(tmp_path, save_checkpoints_steps=1)
    assert estimator.get_variable_names() == ["global_step", "net.bias", "net.weight"]
    estimator.train(input_fn(), steps=1)
    assert estimator.get_variable_value("global_step") == 3


def test_a_function_of_the_user_decides(tmp_path, caplog):
    answers = iter([False, False, True])
    estimator, seen = make_estimator(tmp_path), Calls()
    hook = te.experimental.make_early_stopping_hook(
        estimator, lambda: next(answers), run_every_secs=None, run_every_steps=3
    )
    estimator.train(input_fn(), hooks=[hook, seen], steps=50)
    assert seen.calls[-1][2] == 7
    assert "Requesting early stopping at global step 7." in lines(caplog)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"estimator": None}, TypeError, "`estimator` must be a te.Estimator. Received: None"),
        ({"should_stop_fn": True}, TypeError, "`should_stop_fn` must be a function without arguments. Received: True"),
        ({"run_every_steps": 5}, ValueError, "`run_every_secs` is 60 unless it is None.*run_every_secs=None, run_ever"),
        ({"run_every_secs": None}, ValueError, "Exactly one of `run_every_secs` and `run_every_steps` must be given"),
        ({"run_every_secs": -1}, ValueError, "`run_every_secs` must be at least 0. Received: -1"),
        ({"run_every_secs": None, "run_every_steps": 0}, ValueError, "`run_every_steps` must be at least 1"),
    ],
)
def test_arguments_without_sense_are_refused(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        te.experimental.make_early_stopping_hook(
            **{"estimator": make_estimator(tmp_path), "should_stop_fn": bool, **arguments}
        )


@pytest.mark.parametrize(
    ("make_hook", "arguments", "error", "message"),
    [
        (higher, ("score", "0.9"), TypeError, "`threshold` must be a number. Received: '0.9'"),
        (lower, (0.9, "score"), TypeError, "`metric_name` must be a string. Received: 0.9"),
        (no_increase, ("score", 0), ValueError, "`max_steps_without_increase` must be at least 1. Received: 0"),
        (no_decrease, ("score", None), ValueError, "`max_steps_without_decrease` must be given"),
    ],
)
def test_watches_without_sense_are_refused(tmp_path, make_hook, arguments, error, message):
    with pytest.raises(error, match=message):
        make_hook(make_estimator(tmp_path), *arguments)
    with pytest.raises(TypeError, match=r"`estimator` must be a te\.Estimator"):
        make_hook(linear_model_fn, *arguments)
