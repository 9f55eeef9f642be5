"""Exact resuming: stopping and going on gives what not stopping gives, to the last bit."""

import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torchestimator as te
from tests.models import (
    AtStep,
    Losses,
    config,
    contents,
    linear_data,
    linear_estimator,
    linear_input,
    messages,
    restless_estimator,
    restless_input,
    restless_model_fn,
    steps_saved,
)
from torchestimator.checkpoint import Checkpoint

STEPS = 20


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The last checkpoint of a training in one go, by the number of batches that are accumulated."""
    found = {}
    for accumulate in (1, 3):
        folder = tmp_path_factory.mktemp("uninterrupted")
        restless_estimator(folder, accumulate).train(restless_input(), steps=STEPS)
        found[accumulate] = contents(folder)
    return found


@given(stops=st.sets(st.integers(1, STEPS - 1), max_size=4), accumulate=st.sampled_from([1, 3]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stopping_at_any_steps_changes_nothing(uninterrupted, tmp_path_factory, stops, accumulate):
    folder = tmp_path_factory.mktemp("stopped")
    for stop in sorted(stops):
        restless_estimator(folder, accumulate).train(restless_input(), max_steps=stop)
    restless_estimator(folder, accumulate).train(restless_input(), max_steps=STEPS)
    assert contents(folder) == uninterrupted[accumulate]


def test_batches_of_any_size_in_bytes_are_the_same_after_a_stop(tmp_path):
    """A batch of 924 bytes begins at another address within its cache line each time, and a product may notice."""
    random = np.random.RandomState(0)
    x, y = random.standard_normal((500, 7)).astype(np.float32), random.standard_normal(500).astype(np.float32)

    def model_fn(features, labels, mode):
        net = te.get_module("net", lambda: torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 1)))
        outputs = net(features)[:, 0]
        if mode == te.ModeKeys.PREDICT:
            return te.EstimatorSpec(mode, predictions=outputs)
        loss = (outputs - labels).square().mean()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.Adam(p, lr=0.01)))

    def train(folder, *limits):
        for limit in limits:
            batches = te.inputs.numpy_input_fn(x, y, 33, num_epochs=None, shuffle=True)
            te.Estimator(model_fn, tmp_path / folder, config()).train(batches, max_steps=limit)
        return contents(tmp_path / folder)

    whole = train("whole", 40)
    for stop in (1, 7, 26):
        assert train(f"stopped at {stop}", stop, 40) == whole
    predictor = te.Estimator(model_fn, tmp_path / "whole", config()).predictor()
    memory = np.zeros((16, 33 * 7 + 16), np.float32)
    for offset, row in enumerate(memory):
        row[offset : offset + 33 * 7] = x[:33].ravel()
    shifted = [row[offset : offset + 33 * 7].reshape(33, 7) for offset, row in enumerate(memory)]
    assert len({predictor(rows).tobytes() for rows in shifted}) == 1


def test_one_estimator_trains_on_as_a_new_one_does(uninterrupted, tmp_path):
    estimator = restless_estimator(tmp_path, accumulate=3)
    for steps in (1, 6, 0, 13):
        if steps:
            estimator.train(restless_input(), steps=steps)
    assert contents(tmp_path) == uninterrupted[3]


def test_a_checkpoint_in_the_middle_is_as_good_as_one_at_the_end(uninterrupted, tmp_path):
    restless_estimator(tmp_path, 3, save_checkpoints_steps=5).train(restless_input(), steps=12)
    assert steps_saved(tmp_path) == [0, 5, 10, 12]
    for step in (10, 12):  # as if the process had been killed between the two
        os.rename(tmp_path / f"model.ckpt-{step}", tmp_path / f"{step}")
    restless_estimator(tmp_path, 3).train(restless_input(), max_steps=STEPS)
    assert contents(tmp_path) == uninterrupted[3]


def test_the_programs_own_random_numbers_play_no_part(uninterrupted, tmp_path):
    torch.manual_seed(12345)
    np.random.seed(5)
    restless_estimator(tmp_path).train(restless_input(), steps=7)
    torch.rand(3)
    restless_estimator(tmp_path).train(restless_input(), max_steps=STEPS)
    assert contents(tmp_path) == uninterrupted[1]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("during_the_step", [True, False])
def test_ctrl_c_loses_nothing(uninterrupted, tmp_path, accumulate, during_the_step):
    def press():
        os.kill(os.getpid(), signal.SIGINT)

    calls = []

    def model_fn(features, labels, mode, params):
        calls.append(mode)
        if during_the_step and len(calls) == 9:  # the first call builds the model
            press()
        return restless_model_fn(features, labels, mode, params)

    estimator = restless_estimator(tmp_path, accumulate, model_fn)
    hooks = [] if during_the_step else [AtStep(8, press)]
    with pytest.raises(KeyboardInterrupt):
        estimator.train(restless_input(), hooks=hooks, steps=STEPS)
    assert steps_saved(tmp_path) == [0, 8]
    restless_estimator(tmp_path, accumulate).train(restless_input(), max_steps=STEPS)
    assert contents(tmp_path) == uninterrupted[accumulate]


class FailAtStep:
    """A model_fn that raises an error at its n-th call, before it has computed anything."""

    def __init__(self, call):
        self.call = call
        self.calls = 0

    def __call__(self, features, labels, mode, params):
        self.calls += 1
        if self.calls == self.call:
            raise RuntimeError("the model has a fault")
        return restless_model_fn(features, labels, mode, params)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_error_in_model_fn_loses_no_step_and_no_batch(uninterrupted, tmp_path, accumulate, caplog):
    estimator = restless_estimator(tmp_path, accumulate, FailAtStep(call=12))
    with pytest.raises(RuntimeError, match="the model has a fault"):
        estimator.train(restless_input(), steps=STEPS)
    assert steps_saved(tmp_path) == [0, 10]
    assert any("RuntimeError: saved step 10 first" in line for line in messages(caplog))
    restless_estimator(tmp_path, accumulate).train(restless_input(), max_steps=STEPS)
    assert contents(tmp_path) == uninterrupted[accumulate]


class FailInBackward(torch.autograd.Function):
    """The identity, with an error in the backward pass."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("out of memory")


def failing_in_backward(call):
    calls = []

    def model_fn(features, labels, mode, params):
        calls.append(mode)
        x = features["x"]
        first = te.get_parameter("first", lambda: torch.ones(2))
        last = te.get_parameter("last", lambda: torch.ones(2))
        hidden = x * first
        if len(calls) == call:
            hidden = FailInBackward.apply(hidden)
        loss = ((hidden @ last) - labels).square().mean()
        optimizer_fn = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # noqa: E731
        train_op = te.minimize(loss, optimizer_fn, accumulate_steps=params["accumulate"])
        return te.EstimatorSpec(mode, loss=loss, train_op=train_op)

    return model_fn


@pytest.mark.parametrize("accumulate", [1, 2])
def test_half_a_backward_pass_leaves_no_gradients_behind(tmp_path, accumulate):
    def train(folder, call):
        te.Estimator(
            failing_in_backward(call), folder, config(save_checkpoints_steps=3), {"accumulate": accumulate}
        ).train(linear_input(), max_steps=8)

    train(tmp_path / "whole", None)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path / "failed", 6)
    # The sums of a window can't be freed of the failed batch, so then only the last checkpoint is left.
    assert steps_saved(tmp_path / "failed") == ([0, 3, 4] if accumulate == 1 else [0, 3])
    train(tmp_path / "failed", None)
    assert contents(tmp_path / "failed") == contents(tmp_path / "whole")


def test_half_an_update_is_not_saved(tmp_path):
    class HalfSGD(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            if self.state[self.param_groups[0]["params"][0]].setdefault("count", 0) == 3:
                raise RuntimeError("in the middle of the update")
            self.state[self.param_groups[0]["params"][0]]["count"] += 1

    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(2))
        loss = (features["x"] @ weight - labels).square().mean()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: HalfSGD(p, lr=0.1)))

    estimator = te.Estimator(model_fn, tmp_path, config(save_checkpoints_steps=2))
    with pytest.raises(RuntimeError, match="in the middle of the update"):
        estimator.train(linear_input(), steps=8)
    assert steps_saved(tmp_path) == [0, 2]


def test_nothing_is_saved_for_an_error_before_the_first_step(tmp_path):
    class Faulty(te.SessionRunHook):
        def begin(self):
            raise RuntimeError("a hook has a fault")

    with pytest.raises(RuntimeError, match="a hook has a fault"):
        linear_estimator(tmp_path).train(linear_input(), hooks=[Faulty()], steps=2)
    assert steps_saved(tmp_path) == []


def test_evaluations_and_predictions_in_between_change_nothing(uninterrupted, tmp_path):
    estimator = restless_estimator(tmp_path, accumulate=3, save_checkpoints_steps=4)
    measure = restless_input(num_epochs=1)

    def look():
        estimator.evaluate(measure)
        list(estimator.predict(measure))
        estimator.evaluate_live(measure, steps=2, name="live")

    estimator.train(restless_input(), hooks=[AtStep(3, look), AtStep(8, look)], steps=10)
    look()
    estimator.train(restless_input(), max_steps=STEPS)
    assert contents(tmp_path) == uninterrupted[3]


def test_the_update_of_a_window_cut_short_is_in_the_last_checkpoint(tmp_path):
    """Five batches, two to an update: the fifth makes one of its own; the checkpoint of step 5 is written again."""
    estimator = restless_estimator(tmp_path, 2, save_checkpoints_steps=5)
    estimator.train(restless_input(num_epochs=1, rows=20))
    last = Checkpoint(tmp_path)
    assert last.step == 5
    assert last.state["optimization"]["units"][0]["window"]["filled"] == 0
    assert int(last.read_optimizer("net.layers.0.weight/step")) == 3
    in_memory = estimator.predictor()({"x": np.ones((1, 3), np.float32)})
    assert in_memory == list(estimator.predict(lambda: [{"x": np.ones((1, 3), np.float32)}]))


def test_an_input_that_had_ended_starts_anew(tmp_path):
    seen = []

    def model_fn(features, labels, mode, params):
        seen.extend(features["row"].tolist())
        return linear(features, labels, mode)

    def linear(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(1))
        loss = (features["row"] * weight - 1.0).square().mean()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=1e-3)))

    def once():
        rows = np.arange(6, dtype=np.float32)
        return te.inputs.numpy_input_fn({"row": rows}, None, 2, num_epochs=1, shuffle=True)

    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    for expected_step in (3, 6):
        seen.clear()
        estimator.train(once())
        assert estimator.get_variable_value("global_step") == expected_step
        assert sorted(seen[2:]) == list(range(6))  # the first two are those of the building call


def test_another_input_goes_on_from_its_beginning_with_a_warning(tmp_path, caplog):
    linear_estimator(tmp_path).train(linear_input(), steps=2)
    assert not any("beginning" in line for line in messages(caplog))
    estimator = linear_estimator(tmp_path)
    estimator.train(linear_input(rows=12), steps=2)
    assert estimator.get_variable_value("global_step") == 4
    (line,) = [line for line in messages(caplog) if "beginning" in line]
    assert "rows were 22, now they are 12" in line


def test_an_input_without_a_position_starts_from_its_beginning_with_a_warning(tmp_path, caplog):
    x, y = linear_data(4)

    def endless():
        while True:
            yield x, y

    for _ in range(2):
        linear_estimator(tmp_path).train(endless, steps=2)
    assert sum("can't tell where it is" in line for line in messages(caplog)) == 1


class Stateful:
    """An iterable of the numbers from 0 on that can tell its position."""

    def __init__(self):
        self.next = 0

    def __iter__(self):
        while True:
            value = np.full(2, self.next, np.float32)
            self.next += 1
            yield {"x": value[:, None]}, value

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def test_an_iterable_with_a_state_goes_on_where_it_was(tmp_path):
    def labels_seen(steps, **arguments):
        seen = []

        class Labels(te.SessionRunHook):
            def before_run(self, run_context):
                return te.SessionRunArgs("labels")

            def after_run(self, run_context, run_values):
                seen.append(int(run_values.results[0]))

        linear_estimator(tmp_path, {"lr": 1e-6}, **arguments).train(Stateful, hooks=[Labels()], steps=steps)
        return seen

    assert labels_seen(3) == [0, 1, 2]
    assert labels_seen(2) == [3, 4]
    assert labels_seen(2, save_checkpoints_steps=1) == [5, 6]


def test_a_hooks_state_is_saved_and_given_back(tmp_path):
    class Counter(te.SessionRunHook):
        def __init__(self):
            self.count = 0

        def after_run(self, run_context, run_values):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    for expected in (3, 6):
        counters = [Counter(), Counter()]
        linear_estimator(tmp_path).train(linear_input(), hooks=counters, steps=3)
        assert [counter.count for counter in counters] == [expected, expected]


def test_a_shuffled_loader_does_not_repeat_its_order_in_each_training(tmp_path):
    """It can't go on where it was, but what it gives must not be the same few batches every time."""
    rows = torch.utils.data.TensorDataset(torch.arange(1000.0)[:, None], torch.zeros(1000))
    seen = []

    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(1))
        loss = (features @ weight).square().mean()
        seen[-1].extend(features[:, 0].tolist())
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    def train(folder):
        seen.append([])
        loader = torch.utils.data.DataLoader(rows, batch_size=10, shuffle=True)
        te.Estimator(model_fn, folder, config()).train(lambda: loader, steps=3)

    for folder in ("a", "a", "a", "b", "b", "b"):
        train(tmp_path / folder)
    assert seen[:3] == seen[3:]
    assert len({tuple(rows) for rows in seen}) == 3


def nan_at(step, batches=100):
    """An input whose labels are NaN at that step, counted from 1."""
    x, y = linear_data(4)
    return lambda: ((x, y if number != step else y * np.nan) for number in range(1, batches))


def test_a_nan_loss_is_never_saved(tmp_path):
    linear_estimator(tmp_path, save_checkpoints_steps=2).train(linear_input(), steps=3)
    before = contents(tmp_path)
    with pytest.raises(te.NanLossDuringTrainingError, match="NaN"):
        linear_estimator(tmp_path, save_checkpoints_steps=2).train(nan_at(2), steps=5)
    assert steps_saved(tmp_path) == [0, 2, 3]
    saved = contents(tmp_path)
    assert all(saved[name] == before[name] for name in before if name != "state")


@pytest.mark.parametrize("on_a_saving_step", [True, False])
def test_weights_that_became_nan_by_a_finite_loss_are_never_saved(tmp_path, on_a_saving_step):
    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(2))
        # The square root of zero is zero; its gradient is not.
        loss = (features["x"] @ weight).square().mean().sqrt()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    estimator = te.Estimator(model_fn, tmp_path, config(save_checkpoints_steps=1 if on_a_saving_step else 100))
    with pytest.raises(te.NanLossDuringTrainingError, match="'weight' holds NaN after step 1"):
        estimator.train(linear_input(), steps=1)
    assert steps_saved(tmp_path) == [0]
    assert np.array_equal(estimator.get_variable_value("weight"), [0, 0])


def test_infinite_weights_pass(tmp_path):
    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.tensor([torch.inf, -torch.inf]))
        other = te.get_parameter("other", lambda: torch.zeros(2))
        loss = (features["x"] @ other - labels).square().mean() + (0 * weight.nan_to_num(0, 0, 0)).sum()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    te.Estimator(model_fn, tmp_path, config()).train(linear_input(), steps=1)
    assert steps_saved(tmp_path) == [0, 1]


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_mixed_precision_trains_and_resumes_exactly(tmp_path, precision):
    losses = Losses()
    restless_estimator(tmp_path / "whole", precision=precision).train(restless_input(), hooks=[losses], steps=8)
    assert np.isfinite(losses.values).all()
    for steps in (3, 8):
        restless_estimator(tmp_path / "parts", precision=precision).train(restless_input(), max_steps=steps)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    model = contents(tmp_path / "whole")
    assert model["model/net.layers.0.weight"][0] == torch.float32
    assert (model["state"]["optimization"]["loss_scale"] is not None) == (precision == "16")


def test_the_state_dict_may_hold_tensors_only(tmp_path):
    class WithExtra(torch.nn.Linear):
        def get_extra_state(self):
            return {"python": "objects"}

    def model_fn(features, labels, mode):
        loss = te.get_module("net", lambda: WithExtra(2, 1))(features["x"]).square().mean()
        return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    with pytest.raises(TypeError, match=r"'net._extra_state' of type dict"):
        te.Estimator(model_fn, tmp_path, config()).train(linear_input(), steps=1)
