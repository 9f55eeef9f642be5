"""Captured trainings: exact resuming, what hooks see, and what can't be captured."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchestimator as te
from tests.models import AtStep, Losses, Notes, config, contents, messages
from torchestimator.capture.errors import CaptureError
from torchestimator.checkpoint import Checkpoint
from torchestimator.trainer import step_capture

ROWS = 22
STEPS = 16


def net():
    return nn.Sequential(
        nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 1), nn.Flatten(0)
    )


def restless(features, labels, mode, params):
    """Dropout, running statistics, a schedule, clipping, accumulation; params: "hindrance", called with outputs."""
    outputs = te.get_module("net", net)(features["x"])
    outputs = te.identity(outputs, "outputs")
    params.get("hindrance", lambda _: None)(outputs)
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=outputs)
    loss = F.mse_loss(outputs, labels)
    te.summary.scalar("largest", outputs.max())
    train_op = te.minimize(
        loss,
        lambda parameters: torch.optim.AdamW(parameters, lr=0.05),
        lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97),
        clip_norm=0.5,
        accumulate_steps=2,
    )
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op, predictions={"outputs": outputs})


def calm(features, labels, mode, params):
    """The same, without random numbers: the model to compare with eager steps."""
    x = features["x"]
    hidden = torch.tanh(te.get_module("first", lambda: nn.Linear(3, 4))(x))
    outputs = te.get_module("last", lambda: nn.Linear(4, 1))(hidden)[:, 0]
    params.get("hindrance", lambda _: None)(outputs)
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=outputs)
    loss = F.mse_loss(outputs, labels)
    train_op = params.get("train_op", _minimize)(loss)
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op, predictions={"outputs": outputs})


def _minimize(loss):
    return te.minimize(loss, lambda parameters: torch.optim.Adam(parameters, lr=0.01))


def data():
    random = np.random.RandomState(3)
    x = random.standard_normal((ROWS, 3)).astype(np.float32)
    return {"x": x}, random.standard_normal(ROWS).astype(np.float32)


def input_fn(num_epochs=None, shuffle=True, batch_size=4):
    """Batches of 4, of which the last one of each epoch has 2 rows if the epoch ends there."""
    return te.inputs.numpy_input_fn(*data(), batch_size, num_epochs=num_epochs, shuffle=shuffle)


def estimator(folder, model_fn=restless, params=None, **settings):
    return te.Estimator(model_fn, folder, config(**{"compile": "step", **settings}), params or {})


def weights(folder):
    opened = Checkpoint(folder)
    return {name: opened.read_model(name) for name in opened.model_shapes}


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The last checkpoint of a captured training in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    estimator(folder).train(input_fn(), max_steps=STEPS)
    return contents(folder)


def test_stopping_and_going_on_changes_nothing(undisturbed, tmp_path):
    for stop in (1, 4, 9, STEPS):
        estimator(tmp_path).train(input_fn(), max_steps=stop)
    assert contents(tmp_path) == undisturbed


class Curious(te.SessionRunHook):
    """Looks at everything."""

    def __init__(self):
        self.seen = []

    def before_run(self, run_context):
        return te.SessionRunArgs(["predictions", "outputs", "features/x", "loss"])

    def after_run(self, run_context, run_values):
        self.seen.append(run_values.results)


def test_nobody_who_looks_changes_anything(undisturbed, tmp_path):
    curious = Curious()
    looking = estimator(tmp_path, log_step_count_steps=3, save_summary_steps=5, save_checkpoints_steps=7)
    looking.train(input_fn(), hooks=[curious, te.LoggingTensorHook(["loss"], every_n_iter=3)], max_steps=STEPS)
    found = contents(tmp_path)
    assert {key: found[key] for key in found if key != "state"} == {
        key: undisturbed[key] for key in undisturbed if key != "state"
    }
    assert found["state"]["random"] == undisturbed["state"]["random"]
    assert all(np.array_equal(predictions["outputs"], outputs) for predictions, outputs, *_ in curious.seen)
    assert len(curious.seen) == STEPS


@pytest.mark.parametrize("steps_per_run", [3, 5])
def test_steps_per_run_changes_nothing(undisturbed, tmp_path, steps_per_run):
    calls = []
    hook = Notes(calls)
    estimator(tmp_path, steps_per_run=steps_per_run).train(input_fn(), hooks=[hook], max_steps=STEPS)
    assert calls.count("before_run") == -(-STEPS // steps_per_run)
    assert contents(tmp_path) == undisturbed


def test_evaluating_in_between_changes_nothing(undisturbed, tmp_path):
    trained = estimator(tmp_path)
    evaluations = [AtStep(step, lambda: trained.evaluate(input_fn(1, False))) for step in (0, 3, 8)]
    trained.train(input_fn(), hooks=evaluations, max_steps=STEPS)
    assert contents(tmp_path) == undisturbed


def test_ctrl_c_loses_nothing(undisturbed, tmp_path):
    press, interrupted = AtStep(7, lambda: os.kill(os.getpid(), signal.SIGINT)), estimator(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train(input_fn(), hooks=[press], max_steps=STEPS)
    estimator(tmp_path).train(input_fn(), max_steps=STEPS)
    assert contents(tmp_path) == undisturbed


def test_both_ways_to_step_may_take_turns(tmp_path):
    losses = {}
    for name, ways in {"off": ["off"], "turns": ["off", "step", "off", "step"], "step": ["step"]}.items():
        hook = Losses()
        for number, way in enumerate(ways, 1):
            trained = estimator(tmp_path / name, calm, compile=way)
            trained.train(input_fn(), hooks=[hook], max_steps=20 * number // len(ways))
        losses[name] = hook.values
    assert_close(weights(tmp_path / "off"), weights(tmp_path / "step"))
    assert_close(weights(tmp_path / "off"), weights(tmp_path / "turns"))
    np.testing.assert_allclose(losses["off"], losses["step"], rtol=1e-4)
    np.testing.assert_allclose(losses["off"], losses["turns"], rtol=1e-4)
    shapes = [Checkpoint(tmp_path / name) for name in ("off", "step")]
    assert shapes[0].model_shapes == shapes[1].model_shapes
    assert shapes[0].optimizer_shapes == shapes[1].optimizer_shapes


def test_a_short_last_batch_runs_eagerly_and_counts(tmp_path, caplog):
    losses = {}
    for way in ("off", "step"):
        hook = Losses()
        estimator(tmp_path / way, calm, compile=way).train(input_fn(2, False, batch_size=5), hooks=[hook])
        losses[way] = hook.values
    assert len(losses["off"]) == len(losses["step"])
    np.testing.assert_allclose(losses["off"], losses["step"], rtol=1e-4)
    assert_close(weights(tmp_path / "off"), weights(tmp_path / "step"))
    assert not [line for line in messages(caplog) if "shapes" in line]


def changing_input(sizes):
    x, y = data()
    return lambda: (({"x": x["x"][:size]}, y[:size]) for size in sizes)


def test_shapes_that_keep_changing_are_named_once(tmp_path, caplog):
    estimator(tmp_path, calm).train(changing_input([4, 4, 5, 6, 7, 8, 9, 10, 4]))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "features['x'] is float32 [8, 3] instead of [4, 3]" in warnings[0].replace("of float32", "of")


def test_resuming_at_an_odd_batch_keeps_to_the_first_shape(tmp_path):
    sizes = [4, 4, 4, 2, 4, 4]
    for folder, stops in (("one", [6]), ("two", [3, 6])):
        done = 0
        for stop in stops:
            estimator(tmp_path / folder, calm).train(changing_input(sizes[done:]), max_steps=stop)
            done = stop
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert {k: v for k, v in one.items() if k != "state"} == {k: v for k, v in two.items() if k != "state"}
    assert one["state"]["capture"] == two["state"]["capture"]
    assert one["state"]["capture"]["captured"]


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(step_capture, "AUTO_STEPS", 5)


def test_auto_goes_by_the_planned_steps_and_stays_with_its_choice(tmp_path, caplog, few_steps):
    caplog.set_level("INFO")
    estimator(tmp_path / "a", calm, compile="auto").train(input_fn(), max_steps=4)
    estimator(tmp_path / "a", calm, compile="auto").train(input_fn(), max_steps=8)
    estimator(tmp_path / "b", calm, compile="auto").train(input_fn(), max_steps=6)
    estimator(tmp_path / "b", calm, compile="auto").train(input_fn(), steps=1)
    estimator(tmp_path / "c", calm, compile="auto").train(input_fn(1))
    lines = [line for line in messages(caplog) if line.startswith("compile='auto'")]
    assert [line.split(":")[1].split(",")[0].strip() for line in lines] == [
        "eager",
        "the step runs eagerly",
        "captured",
        "the step runs captured",
        "eager",
    ]
    assert [Checkpoint(tmp_path / name).state["capture"]["captured"] for name in "abc"] == [False, True, False]


COUNT = [0]


def count(outputs):
    COUNT[0] += 1
    assert (outputs * COUNT[0]).shape


HINDRANCES = {
    "item": (lambda outputs: outputs.sum().item(), "outputs.sum().item()"),
    "if": (lambda outputs: 1 if outputs.sum() > 0 else 2, "outputs.sum() > 0"),
    "print": (lambda outputs: print("outputs:", outputs), 'print("outputs:", outputs)'),
    "numpy": (lambda outputs: np.asarray(outputs.detach()), "np.asarray(outputs.detach())"),
    "mask": (lambda outputs: outputs[outputs > 0].sum(), "outputs[outputs > 0]"),
    "counter": (count, "a counter"),
}


@pytest.mark.parametrize("name", HINDRANCES)
def test_what_cannot_be_captured_is_an_error_or_runs_eagerly(tmp_path, caplog, few_steps, name):
    hindrance, sign = HINDRANCES[name]
    with pytest.raises(CaptureError) as caught:
        estimator(tmp_path / "step", calm, {"hindrance": hindrance}).train(input_fn(), max_steps=6)
    assert sign in str(caught.value)
    assert 'compile="off"' in str(caught.value)
    caplog.set_level("INFO")
    for way in ("auto", "off"):
        estimator(tmp_path / way, calm, {"hindrance": hindrance}, compile=way).train(input_fn(), max_steps=6)
    lines = [line for line in messages(caplog) if line.startswith("The step runs eagerly")]
    assert len(lines) == 1
    assert sign in lines[0]
    one, other = weights(tmp_path / "auto"), weights(tmp_path / "off")
    assert all(torch.equal(one[key], other[key]) for key in other)


class OwnOp:
    """A train_op that is a function."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self):
        self.loss.backward()


def one_cycle(loss):
    return te.minimize(
        loss,
        lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=50),
    )


@pytest.mark.parametrize(
    ("train_op", "precision", "sign"),
    [(OwnOp, "32", "te.minimize"), (one_cycle, "32", "cycle_momentum=False"), (_minimize, "16", '"bf16"')],
)
def test_updates_that_cannot_be_captured(tmp_path, caplog, few_steps, train_op, precision, sign):
    params, settings = {"train_op": train_op}, {"precision": precision}
    with pytest.raises(CaptureError, match=sign):
        estimator(tmp_path / "step", calm, params, **settings).train(input_fn(), max_steps=6)
    caplog.set_level("INFO")
    for way in ("auto", "off"):
        estimator(tmp_path / way, calm, params, compile=way, **settings).train(input_fn(), max_steps=6)
    assert len([line for line in messages(caplog) if line.startswith("The step runs eagerly")]) == 1
    one, other = weights(tmp_path / "auto"), weights(tmp_path / "off")
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_without_a_compiler(tmp_path):
    program = textwrap.dedent(
        f"""
        import logging
        from tests.trainer.test_step_capture import *
        logging.basicConfig(level="INFO", format="%(message)s")
        step_capture.AUTO_STEPS = 5
        estimator({str(tmp_path / "auto")!r}, calm, compile="auto").train(input_fn(), max_steps=6)
        try:
            estimator({str(tmp_path / "step")!r}, calm).train(input_fn(), max_steps=6)
        except CaptureError as error:
            print("refused:", error)
        """
    )
    environment = {**os.environ, "CXX": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stderr.count("The step runs eagerly: there is no C++ compiler") == 1
    assert "refused:" in done.stdout
    assert "install g++" in done.stdout
    assert weights(tmp_path / "auto")


def test_hooks_see_the_loss_of_the_step(tmp_path):
    hook, looks = Losses(), []

    class Session(te.SessionRunHook):
        def after_run(self, run_context, run_values):
            looks.append(run_context.session.run({"loss": "loss", "step": "global_step", "p": "predictions"}))

    trained = estimator(tmp_path)
    trained.train(input_fn(), hooks=[hook, Session()], max_steps=6)
    assert hook.values == [float(look["loss"]) for look in looks]
    assert [int(look["step"]) for look in looks] == [1, 2, 3, 4, 5, 6]
    assert all(look["p"]["outputs"].shape in ((4,), (2,)) for look in looks)


def test_buffers_that_the_model_binds_anew_are_left_alone_by_those_who_look(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls = self.calls + 1
            return self.layer(x)[:, 0]

    def model_fn(features, labels, mode):
        outputs = te.get_module("net", Counting)(features["x"])
        loss = F.mse_loss(outputs, labels)
        return te.EstimatorSpec(mode, loss=loss, train_op=_minimize(loss), predictions={"outputs": outputs})

    te.Estimator(model_fn, tmp_path, config(compile="step")).train(
        input_fn(), hooks=[te.LoggingTensorHook(["predictions/outputs"], every_n_iter=2, at_end=True)], max_steps=8
    )
    assert weights(tmp_path)["net.calls"] == 8


def test_nan_is_noticed_and_not_saved(tmp_path):
    x, y = data()

    def poisoned():
        for step in range(12):
            rows = x["x"][:4].copy()
            if step == 6:
                rows[0, 0] = np.nan
            yield {"x": rows}, y[:4]

    with pytest.raises(te.NanLossDuringTrainingError):
        estimator(tmp_path, calm, save_checkpoints_steps=4).train(poisoned)
    assert Checkpoint(tmp_path).step == 4


def test_weights_that_a_hook_changes_count(tmp_path):
    def run(way):
        class Halves(te.SessionRunHook):
            def after_run(self, run_context, run_values):
                if run_context.global_step == 5:
                    for parameter in run_context.session.module.parameters():
                        parameter.data = parameter.data / 2

        estimator(tmp_path / way, calm, compile=way).train(input_fn(), hooks=[Halves()], max_steps=10)
        return weights(tmp_path / way)

    assert_close(run("off"), run("step"))


def test_an_input_that_ends_inside_a_run(tmp_path):
    estimator(tmp_path, calm, steps_per_run=4).train(changing_input([4] * 10))
    assert Checkpoint(tmp_path).step == 10


def test_every_step_of_a_run_is_fed(tmp_path):
    zeros = te.FeedFnHook(lambda: {"features/x": np.zeros((4, 3), np.float32)})
    estimator(tmp_path, calm).train(input_fn(), max_steps=1)
    before = weights(tmp_path)["last.weight"]
    estimator(tmp_path / "fed", calm, steps_per_run=3).train(input_fn(), hooks=[zeros], max_steps=6)
    estimator(tmp_path / "one", calm).train(input_fn(), hooks=[zeros], max_steps=6)
    fed, one = weights(tmp_path / "fed"), weights(tmp_path / "one")
    assert all(torch.equal(fed[name], one[name]) for name in one)
    assert not torch.equal(fed["last.weight"], before)


def test_a_second_estimator_meets_a_warm_cache(tmp_path, compilation_cache):
    assert os.listdir(compilation_cache)
