"""Values in the log."""

import re

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.hooks.training import Fetch, input_fn, linear_model_fn, lines, make_estimator


def without_times(logged):
    return [re.sub(r"\(\d+\.\d{3} sec\)", "(T)", line) for line in logged]


def log_of(tmp_path, caplog, hook, steps, model_fn=linear_model_fn, **settings):
    losses = Fetch("loss")
    make_estimator(tmp_path, model_fn, **settings).train(input_fn(), hooks=[hook, losses], steps=steps)
    return without_times(lines(caplog)[:-1]), [str(loss) for loss in losses.results]


def test_the_default_lines_of_a_training(tmp_path, caplog):
    losses = Fetch("loss")
    make_estimator(tmp_path, log_step_count_steps=3).train(input_fn(), hooks=[losses], steps=8)
    shown = [str(loss) for loss in losses.results]
    logged = without_times(lines(caplog))
    assert [re.sub(r"sec: [\d.e+]+", "sec: R", line) for line in logged] == [
        f"loss = {shown[0]}, step = 0",
        "global_step/sec: R",
        f"loss = {shown[3]}, step = 3 (T)",
        "global_step/sec: R",
        f"loss = {shown[6]}, step = 6 (T)",
        f"Loss for final step: {shown[-1]}.",
    ]


def test_a_resumed_training_starts_its_cadence_anew(tmp_path, caplog):
    settings = {"log_step_count_steps": 3, "save_checkpoints_steps": 100}
    make_estimator(tmp_path, **settings).train(input_fn(), steps=5)
    caplog.clear()
    make_estimator(tmp_path, **settings).train(input_fn(), steps=4)
    assert re.findall(r"step = (\d+)", caplog.text) == ["5", "8"]


def test_a_dict_is_shown_in_the_order_of_its_keys(tmp_path, caplog):
    hook = te.LoggingTensorHook({"b": "loss", "a": "step"}, every_n_iter=2)
    logged, losses = log_of(tmp_path, caplog, hook, 3)
    assert logged == [f"a = 0, b = {losses[0]}", f"a = 2, b = {losses[2]} (T)"]


def test_a_list_is_shown_as_given(tmp_path, caplog):
    logged, losses = log_of(tmp_path, caplog, te.LoggingTensorHook(["step", "loss"], every_n_iter=2), 1)
    assert logged == [f"step = 0, loss = {losses[0]}"]


def test_no_seconds_between_lines_log_every_step(tmp_path, caplog):
    logged, _ = log_of(tmp_path, caplog, te.LoggingTensorHook(["step"], every_n_secs=0), 3)
    assert logged == ["step = 0", "step = 1 (T)", "step = 2 (T)"]


def test_many_seconds_between_lines_log_the_first_step(tmp_path, caplog):
    logged, _ = log_of(tmp_path, caplog, te.LoggingTensorHook(["step"], every_n_secs=1e6), 3)
    assert logged == ["step = 0"]


def test_at_end_alone_logs_the_last_step(tmp_path, caplog):
    logged, losses = log_of(tmp_path, caplog, te.LoggingTensorHook(["loss", "step"], at_end=True), 4)
    assert logged == [f"loss = {losses[-1]}, step = 3"]


def test_at_end_adds_to_a_cadence(tmp_path, caplog):
    logged, _ = log_of(tmp_path, caplog, te.LoggingTensorHook(["step"], every_n_iter=3, at_end=True), 5)
    assert logged == ["step = 0", "step = 3 (T)", "step = 4"]


def test_at_end_works_when_the_input_has_ended(tmp_path, caplog):
    hook = te.LoggingTensorHook(["step"], at_end=True)
    make_estimator(tmp_path).train(input_fn(3), hooks=[hook])
    assert lines(caplog)[0] == "step = 2"


def test_a_formatter_makes_the_whole_line(tmp_path, caplog):
    given = []

    def formatter(values):
        given.append(values)
        return f"100% at {values['step']:d}: {values['error']:.2f}"

    hook = te.LoggingTensorHook({"error": "loss", "step": "step"}, every_n_iter=2, formatter=formatter)
    logged, losses = log_of(tmp_path, caplog, hook, 3)
    assert logged == [f"100% at {step}: {float(losses[step]):.2f}" for step in (0, 2)]
    assert list(given[0]) == ["error", "step"]


def test_a_hook_may_be_used_again(tmp_path, caplog):
    hook = te.LoggingTensorHook(["step"], every_n_iter=5)
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    estimator.train(input_fn(), hooks=[hook], steps=2)
    estimator.train(input_fn(), hooks=[hook], steps=2)
    assert re.findall(r"step = (\d+)", caplog.text) == ["0", "2"]


def test_a_percent_sign_is_no_placeholder(tmp_path, caplog):
    def model_fn(features, labels, mode):
        te.identity(torch.tensor(0.5), "100%s")
        return linear_model_fn(features, labels, mode)

    logged, _ = log_of(tmp_path, caplog, te.LoggingTensorHook(["100%s"], every_n_iter=1), 1, model_fn)
    assert logged == ["100%s = 0.5"]


def test_values_of_all_kinds_are_readable(tmp_path, caplog):
    def model_fn(features, labels, mode):
        te.identity(torch.tensor(0.1), "float")
        te.identity(torch.tensor(1e-9), "small")
        te.identity(torch.tensor(3), "int")
        te.identity(torch.tensor(True), "bool")
        te.identity(torch.tensor([1.5, 2.0]), "vector")
        te.identity(torch.tensor(0.5, dtype=torch.bfloat16), "bfloat16")
        return linear_model_fn(features, labels, mode)

    names = ["float", "small", "int", "bool", "vector", "bfloat16"]
    logged, _ = log_of(tmp_path, caplog, te.LoggingTensorHook(names, every_n_iter=1), 1, model_fn)
    assert logged == ["float = 0.1, small = 1e-09, int = 3, bool = True, vector = [1.5 2. ], bfloat16 = 0.5"]


def test_evaluation_and_prediction_can_be_logged(tmp_path, caplog):
    estimator = make_estimator(tmp_path)
    hook = te.LoggingTensorHook(["metrics/error"], every_n_iter=1)
    results = estimator.evaluate(input_fn(1), hooks=[hook])
    assert "metrics/error = " + str(results["error"]) in lines(caplog)
    hook = te.LoggingTensorHook(["outputs"], every_n_iter=1)
    (outputs,) = estimator.predict(input_fn(1), hooks=[hook], yield_single_examples=False)
    assert f"outputs = {outputs['outputs']}" in lines(caplog)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "One of `every_n_iter` and `every_n_secs` must be given, or `at_end=True`"),
        ({"every_n_iter": 1, "every_n_secs": 1}, ValueError, "Exactly one of `every_n_iter` and `every_n_secs`"),
        ({"every_n_iter": 0}, ValueError, "`every_n_iter` must be at least 1. Received: 0"),
        ({"every_n_iter": 0, "at_end": True}, ValueError, "`every_n_iter` must be at least 1. Received: 0"),
        ({"every_n_secs": -1}, ValueError, "`every_n_secs` must be at least 0. Received: -1"),
    ],
)
def test_cadences_without_sense_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        te.LoggingTensorHook(["loss"], **arguments)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ("loss", r"`tensors` must be a list of names.*Received: 'loss'. Write: \[\"loss\"\]"),
        (5, "`tensors` must be a list of names.*Received: 5"),
        ([torch.zeros(1)], r"`tensors` must hold names.*Received: Tensor. Name it in model_fn, te.identity"),
        ({"a": np.zeros(2)}, r"`tensors` must hold names.*Received: ndarray"),
    ],
)
def test_what_is_no_name_is_refused(tensors, message):
    with pytest.raises(TypeError, match=message):
        te.LoggingTensorHook(tensors, every_n_iter=1)
