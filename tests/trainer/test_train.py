"""The training loop, as its pseudocode says."""

import dataclasses
import inspect
import os

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import AtStep, Losses, config, linear_estimator, linear_input


@dataclasses.dataclass
class Fetch(te.SessionRunHook):
    """A hook that compares equal to others, and so has no hash."""

    name: str
    results: list

    def before_run(self, run_context):
        return te.SessionRunArgs(self.name)

    def after_run(self, run_context, run_values):
        self.results.append(run_values.results)


def test_hooks_that_compare_equal_get_their_own_values(tmp_path):
    hooks = [Fetch("labels", []), Fetch("labels", []), Fetch("step", [])]
    assert hooks[0] == hooks[1]
    linear_estimator(tmp_path).train(linear_input(), hooks=hooks, steps=2)
    assert [len(hook.results) for hook in hooks] == [2, 2, 2]
    assert all(np.array_equal(*both) for both in zip(hooks[0].results, hooks[1].results, strict=True))
    assert hooks[2].results == [0, 1]


def test_a_method_given_to_one_object_counts(tmp_path):
    calls = []
    hook = te.SessionRunHook()
    hook.after_run = lambda run_context, run_values: calls.append(run_context.global_step)
    linear_estimator(tmp_path).train(linear_input(), hooks=[hook], steps=3)
    assert calls == [1, 2, 3]


def test_a_hook_without_a_question_gets_no_answer(tmp_path):
    answers = []

    class Silent(te.SessionRunHook):
        def after_run(self, run_context, run_values):
            answers.append(run_values.results)

    linear_estimator(tmp_path).train(linear_input(), hooks=[Silent(), Losses(), Silent()], steps=2)
    assert answers == [None] * 4


def test_stopping_in_before_run_lets_the_step_complete(tmp_path):
    class Stop(te.SessionRunHook):
        def before_run(self, run_context):
            if run_context.global_step == 2:
                run_context.request_stop()

    estimator = linear_estimator(tmp_path)
    estimator.train(linear_input(), hooks=[Stop()])
    assert estimator.get_variable_value("global_step") == 3


@pytest.mark.parametrize("method", ["begin", "after_create_session", "before_run", "after_run", "end"])
def test_an_error_in_a_hook_ends_training_without_end(tmp_path, method):
    class Broken(te.SessionRunHook):
        pass

    def fail(*arguments):
        raise RuntimeError(f"broken in {method}")

    ended = []

    class Last(te.SessionRunHook):
        def end(self, session):
            ended.append(True)

    hook = Broken()
    setattr(hook, method, fail)
    with pytest.raises(RuntimeError, match=f"broken in {method}"):
        linear_estimator(tmp_path).train(linear_input(), hooks=[hook, Last()], steps=2)
    assert not ended


def test_at_most_four_frames_of_the_library_lie_between_train_and_model_fn(tmp_path):
    depths = []

    def model_fn(features, labels, mode):
        library = os.path.dirname(te.__file__)
        depths.append(sum(frame.filename.startswith(library) for frame in inspect.stack()))
        weight = te.get_parameter("weight", lambda: torch.zeros(2))
        loss = (features["x"] @ weight).square().mean()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    te.Estimator(model_fn, tmp_path, config()).train(linear_input(), steps=2)
    assert depths[1:] == [4, 4]


def test_a_function_as_train_op_runs_as_it_is(tmp_path):
    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(2))
        loss = (features["x"] @ weight - labels).square().mean()

        def train_op():
            (gradient,) = torch.autograd.grad(loss, weight)
            with torch.no_grad():
                weight.sub_(0.1 * gradient)

        return te.EstimatorSpec(mode, loss=loss, train_op=train_op)

    estimator = te.Estimator(model_fn, tmp_path / "function", config())
    estimator.train(linear_input(), steps=4)
    reference = linear_estimator(tmp_path / "minimize", {"lr": 0.1})
    reference.train(linear_input(), steps=4)
    assert np.allclose(estimator.get_variable_value("weight"), reference.get_variable_value("weight"))
    estimator.train(linear_input(), hooks=[AtStep(5, lambda: None)], steps=2)
    assert estimator.get_variable_value("global_step") == 6


def test_several_optimizers_resume_exactly(tmp_path):
    def model_fn(features, labels, mode):
        one = te.get_module("one", lambda: torch.nn.Linear(2, 3))
        two = te.get_module("two", lambda: torch.nn.Linear(3, 1))
        loss = (two(one(features["x"]))[:, 0] - labels).square().mean()
        train_op = te.group(
            te.minimize(loss, lambda p: torch.optim.Adam(p, lr=0.01), var_list=one),
            te.minimize(-loss, lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9), var_list="two"),
        )
        return te.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def train(folder, *limits):
        for limit in limits:
            te.Estimator(model_fn, folder, config()).train(linear_input(shuffle=True), max_steps=limit)
        estimator = te.Estimator(model_fn, folder, config())
        return {name: estimator.get_variable_value(name).tolist() for name in estimator.get_variable_names()}

    assert train(tmp_path / "whole", 9) == train(tmp_path / "parts", 2, 5, 9)


def test_the_training_step_costs_no_read_from_the_device_for_the_default_hooks(tmp_path):
    """Between two log lines nothing looks at a value: on an accelerator each look would wait for it."""
    looks = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), keywords=None):
            if getattr(function, "__name__", "") in ("item", "__bool__", "__float__", "__int__", "numpy", "tolist"):
                looks.append((function.__name__, steps[-1]))
            return super().__torch_function__(function, types, arguments, keywords or {})

    steps = [0]

    class Count(te.SessionRunHook):
        def after_run(self, run_context, run_values):
            steps.append(run_context.global_step)

    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(2))
        loss = (features["x"] @ weight - labels).square().mean().as_subclass(Watched)
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    settings = config(log_step_count_steps=10, save_summary_steps=10, save_checkpoints_steps=100)
    te.Estimator(model_fn, tmp_path, settings).train(linear_input(), hooks=[Count()], steps=25)
    assert {step for _, step in looks} <= {0, 1, 10, 11, 20, 21, 24, 25}
    assert looks


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_training_works_where_gradients_are_switched_off(tmp_path, around):
    with around():
        estimator = linear_estimator(tmp_path, save_checkpoints_steps=1)
        estimator.train(linear_input(), steps=2)
        assert not torch.is_grad_enabled()
        assert estimator.evaluate(linear_input(num_epochs=1))["global_step"] == 2
        assert len(list(estimator.predict(linear_input(num_epochs=1)))) == 22
    estimator.train(linear_input(), steps=1)
    assert estimator.get_variable_value("global_step") == 3
