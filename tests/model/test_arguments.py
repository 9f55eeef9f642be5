"""model_fn signatures, by name."""

import functools

import pytest
import torch
from torch import nn

import torchestimator as te
from torchestimator.model.arguments import check_model_fn, function_name, named_arguments


def everything(features, labels, mode, params, config, model_dir):
    raise NotImplementedError


def two(features, labels):
    raise NotImplementedError


def keyword_only(features, *, mode, params):
    raise NotImplementedError


def with_default(features, labels, mode, temperature=2.0):
    raise NotImplementedError


def with_rest(features, *rest, mode, **others):
    raise NotImplementedError


def with_bound(width, features, labels, mode, params):
    raise NotImplementedError


class Model:
    def __init__(self):
        self.keywords = ("features",)  # a name that functools.partial has too

    def __call__(self, features, mode):
        raise NotImplementedError

    def method(self, features, labels, params):
        raise NotImplementedError

    @classmethod
    def class_method(cls, features, config):
        raise NotImplementedError

    @staticmethod
    def static_method(features, model_dir):
        raise NotImplementedError


@functools.wraps(everything)
def wrapped(*args, **kwargs):
    return everything(*args, **kwargs)


@pytest.mark.parametrize(
    ("model_fn", "taken"),
    [
        (everything, {"features", "labels", "mode", "params", "config", "model_dir"}),
        (wrapped, {"features", "labels", "mode", "params", "config", "model_dir"}),
        (two, {"features", "labels"}),
        (keyword_only, {"features", "mode", "params"}),
        (with_default, {"features", "labels", "mode"}),
        (with_rest, {"features", "mode"}),
        (Model(), {"features", "mode"}),
        (Model().method, {"features", "labels", "params"}),
        (Model.class_method, {"features", "config"}),
        (Model.static_method, {"features", "model_dir"}),
        (functools.partial(with_bound, 8), {"features", "labels", "mode", "params"}),
        (functools.partial(with_bound, width=8), {"features", "labels", "mode", "params"}),
        (functools.partial(functools.partial(with_bound, 8), params={}), {"features", "labels", "mode"}),
        (functools.partial(Model(), mode="train"), {"features"}),
        (lambda features: None, {"features"}),
    ],
)
def test_arguments_are_found_by_name(model_fn, taken):
    assert check_model_fn(model_fn, None) == taken


def test_names():
    assert function_name(everything) == "everything"
    assert function_name(functools.partial(with_bound, 8)) == "with_bound"
    assert function_name(Model()) == "Model"
    assert function_name(functools.partial(Model(), mode="train")) == "Model"
    assert function_name(Model().method) == "Model.method"


def test_parameters_that_partial_has_bound_are_left_out():
    assert list(named_arguments(functools.partial(two, labels=None), "input_fn")) == ["features"]


@pytest.mark.parametrize(
    ("model_fn", "params", "error", "message"),
    [
        (None, None, ValueError, "`model_fn` is missing"),
        ("model", None, TypeError, "`model_fn` must be a function. Received: 'model'"),
        (Model, None, TypeError, r"Received: the class Model.*Model\(\)"),
        (nn.Linear(1, 1), None, TypeError, r"Received: a module, Linear.*te.get_module\(\"net\", lambda: Linear"),
        (lambda labels, mode: None, None, ValueError, r"argument named `features`.*\['labels', 'mode'\]"),
        (lambda features, lables: None, None, ValueError, r"nothing is passed for: \['lables'\]"),
        (with_bound, None, ValueError, r"\['width'\].*functools.partial"),
        (two, {"lr": 1}, ValueError, r"no argument named `params`. Received: params=\{'lr': 1\}"),
        (everything, ["lr"], TypeError, r"`params` must be a dict.*Received: \['lr'\]"),
        (lambda features, /: None, None, TypeError, "positional-only"),
        (dict.fromkeys, None, (TypeError, ValueError), "`model_fn`"),
    ],
)
def test_wrong_signatures_are_refused(model_fn, params, error, message):
    with pytest.raises(error, match=message):
        check_model_fn(model_fn, params)


def received(**arguments):
    """What a model_fn gets that takes all arguments."""
    seen = {}

    def model_fn(features, labels, mode, params, config, model_dir):
        seen.update(labels=labels, mode=mode, params=params, config=config, model_dir=model_dir)
        return te.EstimatorSpec(mode, predictions=features)

    te.ModelFnModule(model_fn, **arguments).build(torch.ones(2), None, te.ModeKeys.PREDICT)
    return seen


def test_every_argument_gets_its_value():
    config, params = te.RunConfig(), {"width": 3}
    seen = received(params=params, config=config, model_dir="runs")
    assert seen == {"labels": None, "mode": "infer", "params": params, "config": config, "model_dir": "runs"}


def test_params_are_an_empty_dict_where_none_were_given():
    assert received()["params"] == {}


@pytest.mark.parametrize("model_fn", [Model(), Model().method, functools.partial(with_bound, 1), with_rest])
def test_all_kinds_of_functions_run_as_models(model_fn):
    with pytest.raises(NotImplementedError):
        te.ModelFnModule(model_fn).build(
            torch.ones(2), torch.ones(2) if "labels" in named_arguments(model_fn, "") else None, "train"
        )
