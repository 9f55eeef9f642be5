"""Evaluations in the middle of a training."""

import os

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.hooks.training import Calls, Fetch, data, input_fn, linear_model_fn, lines, make_estimator
from torchestimator.summary.reader import read_scalars

Evaluator = te.experimental.InMemoryEvaluatorHook


def dropout_model_fn(features, labels, mode):
    """Draws random numbers in each training step, and has running statistics."""
    net = te.get_module(
        "net",
        lambda: torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        ),
    )
    loss = torch.nn.functional.mse_loss(net(features["x"])[:, 0], labels)
    metrics = {"noise": te.metrics.mean(torch.rand(3))}
    train_op = te.minimize(loss, lambda parameters: torch.optim.Adam(parameters, lr=0.01))
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op, eval_metric_ops=metrics)


@pytest.mark.parametrize(("every", "steps", "evaluated"), [(2, 5, [0, 2, 4, 5]), (2, 4, [0, 2, 4]), (10, 3, [0, 3])])
def test_evaluations_at_the_start_every_n_steps_and_at_the_end(tmp_path, caplog, every, steps, evaluated):
    estimator = make_estimator(tmp_path)
    estimator.train(input_fn(), hooks=[Evaluator(estimator, input_fn(3), every_n_iter=every)], steps=steps)
    results = read_scalars(estimator.eval_dir())
    assert list(results) == evaluated
    assert all(set(values) == {"loss", "error"} for values in results.values())
    assert caplog.text.count("Finished evaluation") == len(evaluated)
    assert results[steps]["loss"] < results[0]["loss"]


def test_a_resumed_training_is_evaluated_at_its_start(tmp_path):
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    estimator.train(input_fn(), steps=3)
    estimator.train(input_fn(), hooks=[Evaluator(estimator, input_fn(1), every_n_iter=2)], steps=3)
    assert list(read_scalars(estimator.eval_dir())) == [3, 5, 6]


def test_the_weights_of_the_moment_are_measured(tmp_path):
    estimator = make_estimator(tmp_path)
    losses = Fetch("loss")
    hook = Evaluator(estimator, input_fn(1), every_n_iter=1)
    estimator.train(input_fn(), hooks=[hook, losses], steps=3)
    results = read_scalars(estimator.eval_dir())
    # The loss of a training step is that of the weights before it, on the same batch.
    assert [results[step]["loss"] for step in range(3)] == pytest.approx([float(loss) for loss in losses.results])


def test_a_training_does_not_notice_its_evaluations(tmp_path):
    def weights_and_losses(folder, every):
        estimator = make_estimator(tmp_path / folder, dropout_model_fn, save_checkpoints_steps=3)
        x, y = data(40)
        train_fn = te.inputs.numpy_input_fn(x, y, 8, num_epochs=None, shuffle=True)
        losses = Fetch("loss")
        hooks = [losses, *([Evaluator(estimator, input_fn(3), every_n_iter=every)] if every else [])]
        estimator.train(train_fn, hooks=hooks, steps=9)
        names = estimator.get_variable_names()
        return {name: estimator.get_variable_value(name) for name in names}, losses.results

    alone, alone_losses = weights_and_losses("alone", None)
    watched, watched_losses = weights_and_losses("watched", 2)
    assert list(read_scalars(tmp_path / "watched" / "eval")) == [0, 2, 4, 6, 8, 9]
    assert alone.keys() == watched.keys()
    for name, value in alone.items():
        np.testing.assert_array_equal(value, watched[name], err_msg=name)
    np.testing.assert_array_equal(alone_losses, watched_losses)


def test_name_steps_and_hooks_are_passed_on(tmp_path, caplog):
    estimator, seen = make_estimator(tmp_path), Calls()
    hook = Evaluator(estimator, input_fn(9), steps=2, hooks=[seen], name="train", every_n_iter=100)
    estimator.train(input_fn(), hooks=[hook], steps=1)
    assert list(read_scalars(estimator.eval_dir("train"))) == [0, 1]
    assert not os.path.exists(estimator.eval_dir())
    assert [call[1] for call in seen.calls].count("after_run") == 4
    assert lines(caplog).count("Evaluation [2/2]") == 2


def test_no_checkpoint_is_needed_or_noted(tmp_path):
    estimator = make_estimator(tmp_path)
    estimator.train(input_fn(), hooks=[Evaluator(estimator, input_fn(1))], steps=1)
    assert not list(tmp_path.glob("model.ckpt*"))
    (file,) = (tmp_path / "eval").iterdir()
    assert b"checkpoint_path" not in file.read_bytes()


def test_an_estimator_that_trains_nothing_cannot_be_evaluated_live(tmp_path):
    other = make_estimator(tmp_path / "other")
    with pytest.raises(RuntimeError, match="No model is in training"):
        make_estimator(tmp_path / "own").train(input_fn(), hooks=[Evaluator(other, input_fn(1))], steps=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"estimator": linear_model_fn}, TypeError, "`estimator` must be a te.Estimator"),
        ({"input_fn": [1]}, TypeError, r"`input_fn` must be a function that returns the data. Received: \[1\]"),
        ({"every_n_iter": 0}, ValueError, "`every_n_iter` must be at least 1. Received: 0"),
        ({"every_n_iter": None}, ValueError, "`every_n_iter` must be given"),
        ({"steps": 0}, ValueError, "`steps` must be at least 1. Received: 0"),
        ({"hooks": ["loss"]}, TypeError, "`hooks` must hold SessionRunHook objects"),
    ],
)
def test_arguments_without_sense_are_refused(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        Evaluator(**{"estimator": make_estimator(tmp_path), "input_fn": input_fn(1), **arguments})
