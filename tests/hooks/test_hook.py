"""The contract between loop and hooks."""

import json
import os
import sys

import pytest
import torch

import torchestimator as te
from tests.hooks.training import Calls, Fetch, input_fn, linear_model_fn, make_estimator

METHODS = ("begin", "after_create_session", "before_run", "after_run", "end")


class AroundSteps(te.SessionRunHook):
    """Overrides the methods around a step, which the loop leaves out where a hook does not."""

    def before_run(self, run_context):
        return None

    def after_run(self, run_context, run_values):
        return None


class Chief(AroundSteps):
    """Of the spec, for the chief."""


class OfSpec(AroundSteps):
    """Of the spec."""


class First(AroundSteps):
    """Of the user."""


class Second(AroundSteps):
    """Of the user."""


def hooked_model_fn(features, labels, mode):
    spec = linear_model_fn(features, labels, mode)
    return spec._replace(training_chief_hooks=[Chief()], training_hooks=[OfSpec()])


class Observed:
    """Watches which hooks are called from inside the package, default hooks included."""

    def __init__(self):
        self.calls = []

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _note(self, frame, event, arg):
        if event == "call" and frame.f_code.co_name in METHODS:
            hook = frame.f_locals.get("self")
            if isinstance(hook, te.SessionRunHook):
                self.calls.append((frame.f_code.co_name, type(hook).__name__))


def test_all_hooks_run_in_the_original_order(tmp_path):
    estimator = make_estimator(
        tmp_path, hooked_model_fn, save_checkpoints_steps=100, save_summary_steps=1, log_step_count_steps=1
    )
    with Observed() as observed:
        estimator.train(input_fn(), hooks=[First(), Second()], steps=2)
    every = [
        "CheckpointSaverHook",
        "Chief",
        "StepCounterHook",
        "SummarySaverHook",
        "First",
        "Second",
        "StopAtStepHook",
        "NanTensorHook",
        "LoggingTensorHook",
        "OfSpec",
    ]
    asking = ["Chief", "SummarySaverHook", "First", "Second", "LoggingTensorHook", "OfSpec"]
    step = [("before_run", name) for name in asking] + [("after_run", name) for name in every]
    assert observed.calls == [
        *[("begin", name) for name in every],
        *[("after_create_session", name) for name in every],
        *step,
        *step,
        *[("end", name) for name in every],
    ]


def test_evaluation_hooks_run_before_the_one_that_counts(tmp_path):
    estimator = make_estimator(tmp_path)
    with Observed() as observed:
        estimator.evaluate(input_fn(), steps=1, hooks=[First()])
    assert observed.calls == [
        ("begin", "First"),
        ("begin", "StopAfterNEvalsHook"),
        ("after_create_session", "First"),
        ("after_create_session", "StopAfterNEvalsHook"),
        ("before_run", "First"),
        ("before_run", "StopAfterNEvalsHook"),
        ("after_run", "First"),
        ("after_run", "StopAfterNEvalsHook"),
        ("end", "First"),
        ("end", "StopAfterNEvalsHook"),
    ]


def test_calls_of_a_training_and_the_steps_they_see(tmp_path):
    hook = Calls()
    make_estimator(tmp_path).train(input_fn(), hooks=[hook], steps=2)
    assert hook.calls == [
        ("hook", "begin"),
        ("hook", "after_create_session", 0),
        ("hook", "before_run", 0),
        ("hook", "after_run", 1),
        ("hook", "before_run", 1),
        ("hook", "after_run", 2),
        ("hook", "end", 2),
    ]


@pytest.mark.parametrize("mode", ["train", "evaluate", "predict"])
def test_at_the_end_of_the_input_after_run_is_left_out_and_end_is_not(tmp_path, mode):
    estimator, hook = make_estimator(tmp_path), Calls()
    if mode == "train":
        estimator.train(input_fn(2), hooks=[hook])
    elif mode == "evaluate":
        estimator.evaluate(input_fn(2), hooks=[hook])
    else:
        list(estimator.predict(input_fn(2), hooks=[hook]))
    methods = [call[1] for call in hook.calls]
    assert methods[-4:] == ["before_run", "after_run", "before_run", "end"]
    assert methods.count("before_run") == 3
    assert methods.count("after_run") == 2


@pytest.mark.parametrize("method", METHODS)
def test_after_an_exception_nothing_more_is_called(tmp_path, method):
    def fails(*_):
        raise ZeroDivisionError("of the hook")

    calls = []
    kind = type("Fails", (te.SessionRunHook,), {method: fails})
    hooks = [Calls("before", calls), kind(), Calls("after", calls)]
    with pytest.raises(ZeroDivisionError, match="of the hook"):
        make_estimator(tmp_path).train(input_fn(), hooks=hooks, steps=3)
    assert calls[-1][:2] == ("before", method)
    assert ("after", method) not in [call[:2] for call in calls]
    if method != "end":
        assert "end" not in [call[1] for call in calls]


def test_an_exception_of_the_model_leaves_out_after_run_and_end(tmp_path):
    calls = 0

    def fails_at_third(features, labels, mode):
        nonlocal calls
        calls += 1
        if calls == 4:  # the first call builds the model
            raise ZeroDivisionError("of the model")
        return linear_model_fn(features, labels, mode)

    hook = Calls()
    with pytest.raises(ZeroDivisionError, match="of the model"):
        make_estimator(tmp_path, fails_at_third).train(input_fn(), hooks=[hook], steps=10)
    assert hook.calls[-1] == ("hook", "before_run", 2)


class StopsIn(te.SessionRunHook):
    """Asks to stop when two steps are done, in one of its methods."""

    def __init__(self, method):
        self.method = method

    def before_run(self, run_context):
        if self.method == "before_run" and run_context.global_step == 2:
            run_context.request_stop()

    def after_run(self, run_context, run_values):
        if self.method == "after_run" and run_context.global_step == 2:
            run_context.request_stop()
            assert run_context.stop_requested


@pytest.mark.parametrize(("method", "last"), [("before_run", 3), ("after_run", 2)])
def test_a_stop_requested_before_a_step_completes_it(tmp_path, method, last):
    hook = Calls()
    make_estimator(tmp_path).train(input_fn(), hooks=[StopsIn(method), hook], steps=10)
    assert hook.calls[-2:] == [("hook", "after_run", last), ("hook", "end", last)]


def test_a_hook_may_override_a_single_method(tmp_path):
    class OnlyEnd(te.SessionRunHook):
        def end(self, session):
            self.step = session.global_step

    class OnlyAfterRun(te.SessionRunHook):
        def __init__(self):
            self.steps = []

        def after_run(self, run_context, run_values):
            assert run_values.results is None
            self.steps.append(run_context.global_step)

    end, after = OnlyEnd(), OnlyAfterRun()
    make_estimator(tmp_path).train(input_fn(), hooks=[end, Fetch("loss"), after], steps=2)
    assert end.step == 2
    assert after.steps == [1, 2]


def test_the_context_shows_model_optimizer_and_rank(tmp_path):
    class Looks(te.SessionRunHook):
        def after_run(self, run_context, run_values):
            assert isinstance(run_context.optimizer, torch.optim.SGD)
            assert [run_context.optimizer] == list(run_context.session.optimizers)
            assert sorted(dict(run_context.module.named_parameters())) == ["net.bias", "net.weight"]
            assert (run_context.rank, run_context.session.is_chief) == (0, True)
            assert run_context.original_args == te.SessionRunArgs(None)
            assert not run_context.stop_requested
            self.ran = True

    hook = Looks()
    make_estimator(tmp_path).train(input_fn(), hooks=[hook], steps=1)
    assert hook.ran


def test_a_hook_may_change_the_learning_rate(tmp_path):
    class Freezes(te.SessionRunHook):
        def before_run(self, run_context):
            if run_context.global_step == 1:
                run_context.optimizer.param_groups[0]["lr"] = 0.0

    weights = Weights()
    make_estimator(tmp_path).train(input_fn(), hooks=[Freezes(), weights], steps=3)
    first, second, third = weights.seen
    assert not torch.equal(first, torch.zeros(1, 2))
    assert torch.equal(first, second)
    assert torch.equal(second, third)


class Weights(te.SessionRunHook):
    """Keeps the weights after each step."""

    def __init__(self):
        self.seen = []

    def after_run(self, run_context, run_values):
        self.seen.append(run_context.module.get_parameter("net.weight").detach().clone())


def test_there_is_no_optimizer_outside_training(tmp_path):
    class AsksForOptimizer(te.SessionRunHook):
        def before_run(self, run_context):
            return run_context.optimizer

    estimator = make_estimator(tmp_path)
    with pytest.raises(RuntimeError, match="only a training has one"):
        estimator.evaluate(input_fn(), steps=1, hooks=[AsksForOptimizer()])
    with pytest.raises(RuntimeError, match="only a training has one"):
        next(estimator.predict(input_fn(), hooks=[AsksForOptimizer()]))


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        (["loss"], r"`hooks` must hold SessionRunHook objects. Received: 'loss'\."),
        ([Calls], r"`hooks` must hold SessionRunHook objects. .*a class: add parentheses"),
        (Calls(), r"`hooks` must be a list of SessionRunHook objects. .*Write: \[hook\]"),
        (3, r"`hooks` must be a list of SessionRunHook objects. Received: 3"),
    ],
)
def test_what_is_no_hook_is_refused(tmp_path, hooks, message):
    estimator = make_estimator(tmp_path)
    with pytest.raises(TypeError, match=message):
        estimator.train(input_fn(), hooks=hooks, steps=1)
    with pytest.raises(TypeError, match=message):
        estimator.evaluate(input_fn(), hooks=hooks, steps=1)
    assert not list(tmp_path.iterdir())


class Counter(te.SessionRunHook):
    """Has a state worth keeping."""

    def __init__(self, start=0):
        self.count = start
        self.restored = []

    def after_run(self, run_context, run_values):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.restored.append(state)
        self.count = state["count"]


def test_states_of_hooks_are_saved_and_given_back(tmp_path):
    settings = {"save_checkpoints_steps": 100}
    make_estimator(tmp_path, **settings).train(input_fn(), hooks=[Counter(), Calls(), Counter(10)], steps=3)
    with open(os.path.join(tmp_path, "model.ckpt-3", "state.json"), encoding="utf-8") as file:
        assert json.load(file)["hooks"] == {"Counter": {"count": 3}, "Counter_1": {"count": 13}}
    one, other = Counter(), Counter()
    make_estimator(tmp_path, **settings).train(input_fn(), hooks=[one, other], steps=2)
    assert (one.restored, other.restored) == ([{"count": 3}], [{"count": 13}])
    assert (one.count, other.count) == (5, 15)


def test_a_hook_that_is_new_starts_with_its_own_state(tmp_path):
    settings = {"save_checkpoints_steps": 100}
    make_estimator(tmp_path, **settings).train(input_fn(), steps=1)
    hook = Counter(7)
    make_estimator(tmp_path, **settings).train(input_fn(), hooks=[hook], steps=1)
    assert (hook.restored, hook.count) == ([], 8)
