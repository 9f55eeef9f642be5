"""The Estimator's constructor, properties and subclass rule; evaluate and predict as a user sees them."""

import contextlib
import functools
import logging
import os
import random
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch

import torchestimator as te
from tests.models import (
    Notes,
    config,
    five_batches_by_five_calls,
    linear_data,
    linear_estimator,
    linear_input,
    linear_model_fn,
    steps_saved,
)
from torchestimator.checkpoint.lock import ModelDirLock


def plain_model_fn(features, labels, mode):
    return linear_model_fn(features, labels, mode, {})


# The constructor


def test_model_dir_may_be_given_in_one_of_two_places_or_twice_alike(tmp_path):
    assert te.Estimator(plain_model_fn, str(tmp_path)).model_dir == str(tmp_path)
    assert te.Estimator(plain_model_fn, tmp_path).model_dir == str(tmp_path)
    assert te.Estimator(plain_model_fn, config=config(model_dir=tmp_path)).model_dir == str(tmp_path)
    assert te.Estimator(plain_model_fn, tmp_path, config(model_dir=str(tmp_path))).config.model_dir == str(tmp_path)
    with pytest.raises(ValueError, match=r"`model_dir` is given twice .*'a' .*'b'"):
        te.Estimator(plain_model_fn, "a", config(model_dir="b"))


@pytest.mark.parametrize("model_dir", [None, ""])
def test_without_a_model_dir_a_temporary_folder_is_used_with_a_warning(model_dir, caplog):
    estimator = te.Estimator(plain_model_fn, model_dir)
    assert os.listdir(estimator.model_dir) == []
    assert any(record.levelno == logging.WARNING and estimator.model_dir in record.message for record in caplog.records)
    os.rmdir(estimator.model_dir)


def test_making_an_estimator_writes_nothing(tmp_path):
    te.Estimator(plain_model_fn, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"config": {"model_dir": "a"}}, TypeError, "`config` must be a te.RunConfig"),
        ({"params": [1]}, TypeError, "`params` must be a dict"),
        ({"params": {"lr": 1}}, ValueError, "`params` is given, but `model_fn`"),
        ({"model_fn": None}, ValueError, "`model_fn` is missing"),
        ({"model_fn": lambda labels: None}, ValueError, "must take an argument named `features`"),
        ({"model_fn": lambda features, mod: None}, ValueError, r"arguments that nothing is passed for: \['mod'\]"),
        ({"model_fn": 3}, TypeError, "`model_fn` must be a function"),
        ({"warm_start_from": 3}, ValueError, "`warm_start_from` must be the path"),
    ],
)
def test_wrong_arguments_are_refused_at_once(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        te.Estimator(**{"model_fn": plain_model_fn, "model_dir": tmp_path / "new", **arguments})
    assert not (tmp_path / "new").exists()


def test_params_are_copied_at_every_door(tmp_path):
    given = {"sizes": [1]}
    estimator = te.Estimator(linear_model_fn, tmp_path, config(), given)
    given["sizes"].append(2)
    estimator.params["sizes"].append(3)
    assert estimator.params == {"sizes": [1]}
    assert te.Estimator(plain_model_fn, tmp_path).params == {}


def test_model_fn_and_input_fn_may_take_values_out_of_their_params(tmp_path):
    def model_fn(features, labels, mode, params):
        return linear_model_fn(features, labels, mode, {"lr": params.pop("rate")})

    def input_fn(params):
        return linear_input(batch_size=params.pop("batch_size"), num_epochs=1)()

    estimator = te.Estimator(model_fn, tmp_path, config(), {"rate": 0.1, "batch_size": 4})
    estimator.train(input_fn, steps=3)
    assert estimator.evaluate(input_fn)["global_step"] == 3
    assert estimator.params == {"rate": 0.1, "batch_size": 4}


def test_the_model_fn_property_has_params_bound(tmp_path):
    def model_fn(features, labels, mode, params, model_dir):
        return features, labels, mode, params, model_dir

    bound = te.Estimator(model_fn, tmp_path, params={"a": 1}).model_fn
    assert bound(1, 2, "eval", config()) == (1, 2, "eval", {"a": 1}, str(tmp_path))


def test_eval_dir_is_a_name_only(tmp_path):
    estimator = te.Estimator(plain_model_fn, tmp_path)
    assert estimator.eval_dir() == str(tmp_path / "eval")
    assert estimator.eval_dir("held_out") == str(tmp_path / "eval_held_out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["train", "evaluate", "_find_checkpoint", "eval_dir", "params"])
def test_a_subclass_must_not_override(tmp_path, name):
    broken = type("Broken", (te.Estimator,), {name: lambda self: None})
    with pytest.raises(ValueError, match=rf"Broken does override \['{name}'\]"):
        broken(plain_model_fn, tmp_path)


def test_a_subclass_may_add_and_override_what_is_allowed(tmp_path):
    class Mine(te.Estimator):
        def __init__(self, folder):
            super().__init__(plain_model_fn, folder, config())

        def train_twice(self, input_fn):
            return self.train(input_fn, steps=1).train(input_fn, steps=1)

        def latest_checkpoint(self):
            return super().latest_checkpoint()

    assert Mine(tmp_path).train_twice(linear_input()).get_variable_value("global_step") == 2


def test_a_config_of_an_evaluator_does_not_train(tmp_path, monkeypatch):
    cluster = '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "evaluator", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    estimator = linear_estimator(tmp_path)
    with pytest.raises(ValueError, match="the evaluator of its cluster"):
        estimator.train(linear_input(), steps=1)


# Every model_fn, every input


class WithMethod:
    def method(self, features, labels, mode, params):
        return linear_model_fn(features, labels, mode, params)

    def __call__(self, features, labels, mode, params):
        return linear_model_fn(features, labels, mode, params)


def with_more(features, labels, mode, params, extra):
    assert extra == "bound"
    return linear_model_fn(features, labels, mode, params)


@pytest.mark.parametrize(
    "model_fn",
    [linear_model_fn, functools.partial(with_more, extra="bound"), WithMethod().method, WithMethod()],
    ids=["function", "partial", "method", "object"],
)
def test_model_fn_may_be_any_callable(tmp_path, model_fn):
    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    estimator.train(linear_input(), steps=2)
    assert estimator.evaluate(linear_input(num_epochs=1))["global_step"] == 2


def as_loader():
    x, y = linear_data()
    rows = torch.utils.data.TensorDataset(torch.from_numpy(x["x"]), torch.from_numpy(y))
    for features, labels in torch.utils.data.DataLoader(rows, batch_size=4):
        yield {"x": features}, labels


def pair_once(params):
    return linear_data(4)


def as_list():
    x, y = linear_data()
    return [({"x": x["x"][start : start + 4]}, y[start : start + 4]) for start in range(0, 20, 4)]


INPUTS = {
    "generator": as_loader,
    "iterator": lambda: iter(as_list()),
    "list": as_list,
    "numpy_input_fn": linear_input(num_epochs=1, rows=20),
    "one tensor pair per call": lambda: ({"x": torch.from_numpy(linear_data(4)[0]["x"])}, torch.zeros(4)),
    "an endless pair": pair_once,
    "DataLoader": lambda: torch.utils.data.DataLoader(
        [({"x": x}, y) for x, y in zip(linear_data(20)[0]["x"], linear_data(20)[1], strict=True)], batch_size=4
    ),
    "pandas": te.inputs.pandas_input_fn(
        pd.DataFrame({"a": np.arange(20.0), "b": 1.0}), pd.Series(np.arange(20.0)), 4, shuffle=False
    ),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_every_form_of_input_trains_evaluates_and_predicts(tmp_path, kind):
    def model_fn(features, labels, mode, params):
        columns = features["x"] if "x" in features else torch.stack([features["a"], features["b"]], 1).float()
        return linear_model_fn({"x": columns}, labels, mode, params)

    estimator = te.Estimator(model_fn, tmp_path, config(), {"lr": 1e-4})
    estimator.train(INPUTS[kind], steps=3)
    results = estimator.evaluate(INPUTS[kind], steps=2)
    assert results["global_step"] == 3
    assert np.isfinite(results["loss"])
    rows = estimator.predict(INPUTS[kind])
    assert [set(next(rows)) for _ in range(4)] == [{"outputs", "double"}] * 4
    rows.close()


def test_an_input_fn_that_returns_a_batch_is_called_until_stop_iteration(tmp_path):
    estimator = linear_estimator(tmp_path)
    estimator.train(five_batches_by_five_calls())
    assert estimator.get_variable_value("global_step") == 5
    five = estimator.evaluate(five_batches_by_five_calls())
    assert five["loss"] == pytest.approx(estimator.evaluate(five_batches_by_five_calls(), steps=1)["loss"])
    assert len(list(estimator.predict(five_batches_by_five_calls()))) == 20


def test_an_input_of_features_only(tmp_path):
    def model_fn(features, mode):
        loss = (features["x"] @ te.get_parameter("weight", lambda: torch.ones(2))).square().mean()
        train_op = te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        return te.EstimatorSpec(mode, predictions=features["x"], loss=loss, train_op=train_op)

    estimator = te.Estimator(model_fn, tmp_path, config())
    estimator.train(lambda: linear_data(4)[0], steps=3)
    assert estimator.evaluate(lambda: [linear_data(4)[0]])["loss"] > 0
    assert len(list(estimator.predict(lambda: [linear_data(4)[0]]))) == 4


def test_input_fn_gets_what_it_names(tmp_path):
    seen = []

    def input_fn(mode, params, config, input_context):
        seen.append((mode, params, config.model_dir, input_context.num_input_pipelines))
        return as_list()

    estimator = linear_estimator(tmp_path, {"lr": 0.1})
    estimator.train(input_fn, steps=1)
    estimator.evaluate(input_fn, steps=1)
    next(estimator.predict(input_fn))
    assert seen == [(mode, {"lr": 0.1}, str(tmp_path), 1) for mode in ("train", "eval", "infer")]


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_an_error_in_the_reading_thread_surfaces_as_it_was(tmp_path, verb):
    reads = []

    def broken_reader(number):
        reads.append(threading.current_thread().name)
        if number == 9:
            raise OSError("the tape is torn")

    def batches():
        for number in range(12):
            time.sleep(0.002)  # slow enough to be read in a thread
            broken_reader(number)
            yield linear_data(4)

    estimator = linear_estimator(tmp_path)
    with pytest.raises(OSError, match="the tape is torn") as caught:
        list(estimator.predict(batches)) if verb == "predict" else getattr(estimator, verb)(batches)
    assert caught.traceback[-1].name == "broken_reader"
    assert reads[-1] == "torchestimator-input"
    if verb == "train":
        assert steps_saved(tmp_path) == [0, 9]


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
@pytest.mark.parametrize("input_fn", [None, [1, 2], linear_data()], ids=["None", "list", "pair"])
def test_an_input_that_is_no_function_is_refused(tmp_path, verb, input_fn):
    estimator = linear_estimator(tmp_path)
    with pytest.raises(TypeError, match="`input_fn` must be a function"):
        list(getattr(estimator, verb)(input_fn))


def test_labels_that_are_missing_or_too_few_are_pointed_out(tmp_path):
    estimator = linear_estimator(tmp_path)
    with pytest.raises(TypeError) as caught:
        estimator.train(lambda: [linear_data(4)[0]])
    assert any("`labels` is None here: input_fn gives features only" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match=r"labels \[3\]"):
        estimator.train(lambda: [(linear_data(4)[0], np.zeros(3, np.float32))])
    assert steps_saved(tmp_path) == []


def test_labels_that_model_fn_does_not_take_are_refused(tmp_path):
    estimator = te.Estimator(lambda features, mode: None, tmp_path, config())
    with pytest.raises(ValueError, match="takes no argument named `labels`"):
        estimator.train(as_list)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (lambda mode, loss: None, TypeError, "returned None"),
        (lambda mode, loss: loss, TypeError, "must return a te.EstimatorSpec"),
        (lambda mode, loss: te.EstimatorSpec(mode, loss=loss), ValueError, "needs a `train_op`"),
        (lambda mode, loss: te.EstimatorSpec(mode), ValueError, "needs a `train_op`"),
        (lambda mode, loss: te.EstimatorSpec(mode, train_op=lambda: None), ValueError, "needs a `loss`"),
        (lambda mode, loss: te.EstimatorSpec("eval", loss=loss), ValueError, "mode"),
    ],
)
def test_a_model_fn_that_returns_no_usable_spec_is_refused_before_anything_is_written(tmp_path, spec, error, message):
    def model_fn(features, labels, mode):
        weight = te.get_parameter("weight", lambda: torch.zeros(2))
        return spec(mode, (features["x"] @ weight - labels).square().mean())

    with pytest.raises(error, match=message):
        te.Estimator(model_fn, tmp_path, config()).train(linear_input(), steps=1)
    assert steps_saved(tmp_path) == []


# The program's random numbers


def random_states():
    return torch.get_rng_state().tolist(), str(np.random.get_state()), str(random.getstate())


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_the_programs_random_numbers_are_left_alone(tmp_path, verb, fails):
    def loader():
        rows = [({"x": x}, y) for x, y in zip(linear_data(20)[0]["x"], linear_data(20)[1], strict=True)]
        return torch.utils.data.DataLoader(rows, batch_size=4, shuffle=True)

    calls = []

    def model_fn(features, labels, mode, params):
        calls.append(mode)
        noise = torch.rand(())
        if mode != te.ModeKeys.PREDICT:  # for its many small steps, only torch's numbers are kept apart
            noise += np.random.rand() + random.random()
        if fails and len(calls) == 4:
            raise RuntimeError("a fault")
        return linear_model_fn({"x": features["x"] + 0 * noise}, labels, mode, params)

    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    before = random_states()
    with pytest.raises(RuntimeError, match="a fault") if fails else contextlib.nullcontext():
        list(estimator.predict(loader)) if verb == "predict" else getattr(estimator, verb)(loader)
    assert len(calls) >= 4
    assert random_states() == before


def test_a_refused_training_leaves_the_random_numbers_alone(tmp_path):
    before = random_states()
    with ModelDirLock(tmp_path), pytest.raises(RuntimeError, match="another training is using `model_dir`"):
        linear_estimator(tmp_path).train(linear_input(), steps=1)
    assert random_states() == before


# Hooks that a spec brings


@pytest.mark.parametrize("trained", [False, True])
def test_the_hooks_of_a_spec_run_in_evaluation_and_prediction(tmp_path, trained):
    calls = {"eval": [], "infer": []}

    def model_fn(features, labels, mode, params):
        spec = linear_model_fn(features, labels, mode, params)
        hooks = [Notes(calls[mode])] if mode in calls else []
        return spec._replace(evaluation_hooks=hooks, prediction_hooks=hooks)

    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    if trained:
        estimator.train(linear_input(), steps=1)
    for _ in range(2):
        estimator.evaluate(linear_input(num_epochs=1, rows=8))
        list(estimator.predict(linear_input(num_epochs=1, rows=8)))
    once = ["begin", "before_run", "before_run", "before_run", "end"]
    assert calls == {"eval": once * 2, "infer": once * 2}


def test_a_look_for_hooks_does_not_count_a_batch_twice(tmp_path):
    torchmetrics = pytest.importorskip("torchmetrics")
    kept = torchmetrics.SumMetric()

    def model_fn(features, labels, mode, params):
        spec = linear_model_fn(features, labels, mode, params)
        kept.update(torch.ones_like(features["x"][:, 0]))
        return spec._replace(eval_metric_ops={"rows": kept}, evaluation_hooks=[Notes([])])

    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    estimator.train(linear_input(), steps=1)
    for _ in range(2):
        assert estimator.evaluate(linear_input(num_epochs=1))["rows"] == 22


# Saving switched off


def test_without_checkpoints_the_trained_model_is_kept_in_memory(tmp_path):
    estimator = linear_estimator(tmp_path, save_checkpoints_steps=None)
    before = estimator.evaluate(linear_input(num_epochs=1))
    estimator.train(linear_input(), steps=20)
    assert steps_saved(tmp_path) == []
    after = estimator.evaluate(linear_input(num_epochs=1))
    assert after["global_step"] == 20
    assert after["loss"] < before["loss"] / 2
    _, y = linear_data()
    outputs = np.array([row["outputs"] for row in estimator.predict(linear_input(num_epochs=1))])
    assert np.abs(outputs - y).mean() == pytest.approx(after["error"], rel=1e-5)
    with pytest.raises(ValueError, match="Call train first"):
        estimator.predictor()


def test_without_checkpoints_the_trained_model_is_newer_than_an_old_checkpoint(tmp_path):
    linear_estimator(tmp_path).train(linear_input(), steps=2)
    estimator = linear_estimator(tmp_path, save_checkpoints_steps=None)
    assert estimator.evaluate(linear_input(num_epochs=1))["global_step"] == 2
    estimator.train(linear_input(), steps=3)
    assert estimator.evaluate(linear_input(num_epochs=1))["global_step"] == 5
    old = str(tmp_path / "model.ckpt-2")
    assert estimator.evaluate(linear_input(num_epochs=1), checkpoint_path=old)["global_step"] == 2
