"""Values that hooks ask for by name."""

from collections import namedtuple

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.hooks.training import Fetch, data, input_fn, linear_model_fn, make_estimator
from torchestimator.trainer.fetch import find_path, written_places

Pair = namedtuple("Pair", ["one", "other"])


def rich_model_fn(features, labels, mode):
    """Has values of every kind."""
    x = features["x"]
    net = te.get_module("net", lambda: torch.nn.Linear(2, 1))
    outputs = net(x)[:, 0]
    with te.name_scope("tower"):
        te.identity(outputs * 2, "twice")
    te.identity(net.weight, "weights")
    te.identity(outputs.to(torch.bfloat16), "half")
    te.identity(outputs, "loss")
    te.identity(torch.zeros(0, 3), "nothing")
    predictions = {"outputs": outputs, "deep/name": x.sum(), ("head", "logits"): outputs - 1, 7: outputs + 7}
    loss = torch.nn.functional.mse_loss(outputs, labels["main"])
    return te.EstimatorSpec(
        mode,
        predictions=predictions,
        loss=loss,
        train_op=te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.05)),
        eval_metric_ops={
            "error": te.metrics.mean_absolute_error(labels["main"], outputs),
            "loss/head": te.metrics.mean(loss),
        },
    )


def rich_input_fn():
    x, y = data()
    nested = {"x": x["x"], "deep": {"id": np.arange(4)}, "words": np.array(["a", "b", "c", "d"])}
    while True:
        yield nested, {"main": y}


def fetched(tmp_path, fetches, steps=1):
    hook = Fetch(fetches)
    make_estimator(tmp_path, rich_model_fn).train(rich_input_fn, hooks=[hook], steps=steps)
    return hook.results


@pytest.mark.parametrize("fetches", ["loss", "outputs", "predictions/outputs", "labels", "features/x", "metrics/error"])
def test_a_single_name_gives_a_value(tmp_path, fetches):
    hook = Fetch(fetches)
    make_estimator(tmp_path).train(input_fn(), hooks=[hook], steps=2)
    for value in hook.results:
        assert isinstance(value, np.ndarray | np.floating)
        assert np.all(np.isfinite(value))


def test_the_structure_of_the_fetches_is_kept(tmp_path):
    fetches = {
        "list": ["loss", "global_step"],
        "tuple": ("step", ["loss"]),
        "named": Pair("loss", {"deep": "step"}),
        "empty": [],
    }
    (values,) = fetched(tmp_path, fetches)
    loss = values["list"][0]
    assert values == {
        "list": [loss, 1],
        "tuple": (0, [loss]),
        "named": Pair(loss, {"deep": 0}),
        "empty": [],
    }
    assert isinstance(values["tuple"], tuple)
    assert isinstance(values["named"], Pair)


def test_values_are_those_of_the_step(tmp_path):
    names = ["weights", "features/x", "labels/main", "loss", "predictions/outputs", "metrics/error", "tower/twice"]
    for weights, x, labels, loss, outputs, error, twice in fetched(tmp_path, names, steps=3):
        # The weights lie in memory that the step has changed since the loss was computed from them.
        assert weights.shape == (1, 2)
        assert loss == pytest.approx(np.mean((outputs - labels) ** 2), rel=1e-6)
        assert error == pytest.approx(np.mean(np.abs(outputs - labels)), rel=1e-6)
        np.testing.assert_array_equal(twice, 2 * outputs)
        np.testing.assert_array_equal(x, data()[0]["x"])


def test_values_stay_as_they_were_when_training_goes_on(tmp_path):
    results = fetched(tmp_path, ["weights", "loss"], steps=3)
    weights = [values[0] for values in results]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])
    assert len({float(values[1]) for values in results}) == 3


def test_changing_a_value_changes_nothing_else(tmp_path):
    class Spoils(Fetch):
        def after_run(self, run_context, run_values):
            super().after_run(run_context, run_values)
            run_values.results["weights"][:] = np.nan
            run_values.results["x"][:] = np.nan

    hooks = [Spoils({"weights": "weights", "x": "features/x"}), Fetch("loss")]
    make_estimator(tmp_path, rich_model_fn).train(rich_input_fn, hooks=hooks, steps=3)
    assert np.isfinite(hooks[1].results).all()


def test_numbers_without_dimensions_can_be_formatted(tmp_path):
    ((loss, step),) = fetched(tmp_path, ["loss", "step"])
    assert isinstance(loss, np.float32)
    assert f"{loss:.3f} {step:d}" == f"{float(loss):.3f} 0"


def test_bfloat16_becomes_float32(tmp_path):
    ((half, outputs),) = fetched(tmp_path, ["half", "predictions/outputs"])
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, outputs, rtol=1e-2)


def test_empty_tensors_stay_empty(tmp_path):
    (nothing,) = fetched(tmp_path, "nothing")
    assert nothing.shape == (0, 3)


def test_whole_parts_can_be_asked_for(tmp_path):
    ((predictions, metrics, features, labels),) = fetched(tmp_path, ["predictions", "metrics", "features", "labels"])
    assert list(predictions) == ["outputs", "deep/name", ("head", "logits"), 7]
    assert list(metrics) == ["error", "loss/head"]
    assert list(features) == ["x", "deep", "words"]
    assert features["deep"]["id"].tolist() == [0, 1, 2, 3]
    assert features["words"].dtype == np.int64
    np.testing.assert_array_equal(labels["main"], data()[1])


def test_keys_with_slashes_tuples_and_numbers_are_found(tmp_path):
    names = ["predictions/deep/name", "predictions/head/logits", "predictions/7", "metrics/loss/head", "loss"]
    ((name, logits, seventh, head, loss), *_) = fetched(tmp_path, names)
    assert name.shape == ()
    np.testing.assert_allclose(seventh - logits, 8.0, rtol=1e-6)
    assert head == loss


def test_the_loss_of_the_spec_is_meant_whatever_else_has_its_name(tmp_path):
    ((loss, metric),) = fetched(tmp_path, ["loss", "metrics/loss/head"])
    assert loss.shape == ()
    assert loss == metric


def test_each_hook_gets_its_own_answer(tmp_path):
    class Silent(te.SessionRunHook):
        def __init__(self):
            self.results = []

        def after_run(self, run_context, run_values):
            self.results.append(run_values.results)

    hooks = [Fetch("loss"), Silent(), Fetch(None), Fetch({"step": "step"}), Fetch([])]
    make_estimator(tmp_path).train(input_fn(), hooks=hooks, steps=1)
    first, silent, nothing, step, empty = [hook.results[0] for hook in hooks]
    assert first > 0
    assert (silent, nothing, step, empty) == (None, None, {"step": 0}, [])


def test_the_session_answers_after_the_step(tmp_path):
    class Asks(te.SessionRunHook):
        def after_create_session(self, session, coord):
            with pytest.raises(RuntimeError, match="no values before the first step"):
                session.run("loss")

        def after_run(self, run_context, run_values):
            self.loss = run_context.session.run("loss")

        def end(self, session):
            assert session.run({"loss": "loss"}) == {"loss": self.loss}

    hooks = [Asks(), Fetch("loss")]
    make_estimator(tmp_path).train(input_fn(), hooks=hooks, steps=2)
    assert hooks[0].loss == hooks[1].results[-1]


def test_metrics_of_an_evaluation_run_over_its_batches(tmp_path):
    hook, outputs = Fetch("metrics/error"), Fetch(["outputs", "labels"])
    results = make_estimator(tmp_path).evaluate(input_fn(3), hooks=[hook, outputs])
    errors = [np.abs(outputs - labels).mean() for outputs, labels in outputs.results]
    running = [np.mean(errors[: count + 1]) for count in range(3)]
    np.testing.assert_allclose(hook.results, running, rtol=1e-6)
    assert results["error"] == hook.results[-1]


def test_predictions_that_are_a_tensor(tmp_path):
    def model_fn(features, labels, mode):
        spec = linear_model_fn(features, labels, mode)
        return spec._replace(predictions=spec.predictions["outputs"])

    hook = Fetch("predictions")
    rows = list(make_estimator(tmp_path, model_fn).predict(input_fn(2), hooks=[hook]))
    np.testing.assert_array_equal(np.concatenate(hook.results), rows)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("los", r"A hook asks for 'los', which this step does not have. Did you mean 'loss'\?"),
        ("output", r"Did you mean 'outputs'\?"),
        ("prediction/outputs", r"Did you mean 'predictions/outputs'\?"),
        ("predictions/output", r"Did you mean 'predictions/outputs'\?"),
        ("features/z", r"Did you mean 'features/x'\?"),
        ("metrics/eror", r"Did you mean 'metrics/error'\?"),
        ("labels/main", r"Did you mean 'labels'\?"),
        ("loss:0", r"Did you mean 'loss'\?"),
        (
            "qqq",
            r"Known names: \['features', 'features/x', 'global_step', 'labels', 'loss', 'metrics', 'metrics/error'",
        ),
        ("", "A hook asks for ''"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(tmp_path).train(input_fn(), hooks=[Fetch(["step", {"a": name}])], steps=1)


@pytest.mark.parametrize(
    ("fetches", "message"),
    [
        (torch.zeros(1), r"ask for values by name.*te.identity\(x, \"x\"\)"),
        ([torch.zeros(1)], r"ask for values by name"),
        ({"a": 3}, "`fetches` must be names, or nested lists or dicts of names. Received: 3"),
        (["loss", None], "`fetches` must be names.*Received: None"),
    ],
)
def test_what_is_no_name_is_refused(tmp_path, fetches, message):
    with pytest.raises(TypeError, match=message):
        make_estimator(tmp_path).train(input_fn(), hooks=[Fetch(fetches)], steps=1)


def test_every_written_place_is_found_again():
    structure = {"a": {"b": 1, "c/d": [2, (3, 4)]}, ("x", "y"): 5, 6: {"z": 7}, "e/f": {"g": 8}}
    places = list(written_places(structure, "root"))
    assert len(places) == len(set(places)) == 13
    leaves = []
    for place in places:
        part = structure
        for key in find_path(structure, place.removeprefix("root").removeprefix("/")):
            part = part[key]
        if isinstance(part, int):
            leaves.append(part)
    assert sorted(leaves) == [1, 2, 3, 4, 5, 7, 8]


@pytest.mark.parametrize("name", ["b", "a/x", "a/b/c", "a/c", "a/c/d/2", "a/c/d/-1", "e", "x", "/"])
def test_other_places_are_not_found(name):
    assert find_path({"a": {"b": 1, "c/d": [2, 3]}, ("x", "y"): 5, "e/f": 1}, name) is None
