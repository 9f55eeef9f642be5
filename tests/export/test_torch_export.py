"""torch.export programs."""

import json
import logging
import warnings
import zipfile

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.export.models import ROWS, exported_mode, linear, placeholder, predicting, raw, serving
from torchestimator.export.conversion_error import ExportError
from torchestimator.export.serving_module import serving_module
from torchestimator.export.torch_export import export_program, quiet, save_program


def program_of(model_fn=linear, receiver_fn=None):
    module, inputs = serving(model_fn, receiver_fn)
    tensors = inputs.tensors(inputs.rows(2))
    with module.model.undisturbed():
        return export_program(module, inputs, tensors, "The test"), module


@pytest.fixture(scope="module")
def program():
    return program_of()


def test_every_batch_size_gives_what_the_model_gives(program):
    exported, module = program
    for count in (1, 2, 7, 64):
        x = torch.randn(count, 4)
        got = exported.module()(x=x)
        assert list(got) == ["scores"]
        torch.testing.assert_close(got["scores"], module(x=x)["scores"])


def test_the_file_has_the_signature_and_nothing_of_the_source(program, tmp_path):
    exported, module = program
    path = str(tmp_path / "model.pt2")
    save_program(exported, path, {"serving_default": {"inputs": {}}})
    extra = {"signature.json": ""}
    loaded = torch.export.load(path, extra_files=extra)
    assert json.loads(extra["signature.json"]) == {"serving_default": {"inputs": {}}}
    x = torch.from_numpy(ROWS)
    torch.testing.assert_close(loaded.module()(x=x)["scores"], module(x=x)["scores"])
    with zipfile.ZipFile(path) as file:
        content = b"".join(file.read(name) for name in file.namelist())
    assert b".py" not in content
    assert b"get_module" not in content


def test_names_in_capitals_stay_as_they_are():
    features = {"x": ROWS, "X": ROWS, "None": ROWS}
    exported, _ = program_of(
        predicting(lambda f, s: {"Out": s + f["X"][:, :3] * 2 + f["None"][:, 1:]}), raw(**features)
    )
    x = torch.from_numpy(ROWS)
    assert list(exported.module()(x=x, X=x, _None=x)) == ["Out"]


def test_a_size_may_have_a_limit():
    def model_fn(features, mode):
        positions = te.get_parameter("positions", lambda: torch.randn(16, 2))
        return te.EstimatorSpec(mode, predictions=features["t"] + positions[: features["t"].shape[1]])

    def receiver_fn():
        t = placeholder(torch.float32, [None, "time", 2], "t")
        return te.export.ServingInputReceiver({"t": t}, {"t": t})

    exported, module = program_of(model_fn, receiver_fn)
    for time in (1, 2, 16):
        t = torch.randn(3, time, 2)
        torch.testing.assert_close(exported.module()(t=t), module(t=t))
    with pytest.raises(AssertionError, match="16"):
        exported.module()(t=torch.randn(3, 17, 2))


def if_value(features, scores):
    return {"y": scores if scores.sum() > 0 else -scores}


def fixed_batch(features, scores):
    return {"y": scores.reshape(int(scores.shape[0]), 3)}


def fixed_time(features, scores):
    return {"y": scores, "t": features["t"].reshape(features["t"].shape[0], int(features["t"].shape[1]))}


def with_time():
    x, t = placeholder(torch.float32, [None, 4], "x"), placeholder(torch.float32, [None, "time"], "t")
    return te.export.ServingInputReceiver({"x": x, "t": t}, {"x": x, "t": t})


@pytest.mark.parametrize(
    ("function", "receiver_fn", "reason"),
    [
        (if_value, None, r"The test failed at test_torch_export.py, line \d+, `return .* if scores.sum\(\) > 0.*reads"),
        (
            fixed_batch,
            None,
            r"failed at test_torch_export.py, line \d+, `return .*int\(scores.shape\[0\]\).*a constant",
        ),
        (fixed_time, with_time, r"failed at test_torch_export.py, line \d+, `return .*int\(features.*a constant"),
    ],
)
def test_models_that_can_not_be_traced(function, receiver_fn, reason):
    with pytest.raises(ExportError, match=reason):
        program_of(predicting(function), receiver_fn)


def test_layers_made_for_the_export_are_refused():
    calls = []

    def model_fn(features, mode):
        calls.append(mode)
        scores = te.get_module("net", lambda: torch.nn.Linear(4, 3))(features["x"])
        if len(calls) > 1:
            scores = te.get_module("late", lambda: torch.nn.Linear(3, 3))(scores)
        return te.EstimatorSpec(mode, predictions={"scores": scores})

    with pytest.raises(ExportError, match=r"failed at test_torch_export.py, line \d+, `scores = te.get_module..late"):
        program_of(model_fn)


def test_training_graphs_keep_dropout_and_batch_statistics():
    def model_fn(features, labels, mode):
        net = te.get_module(
            "net", lambda: torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
        )
        scores = net(features["x"])
        loss = torch.nn.functional.cross_entropy(scores, labels)
        train_op = te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        return te.EstimatorSpec(mode, predictions=scores, loss=loss, train_op=train_op)

    receiver_fn = te.experimental.build_raw_supervised_input_receiver_fn({"x": ROWS}, np.array([0, 1, 2]))
    mode = exported_mode(model_fn, receiver_fn, te.ModeKeys.TRAIN)
    inputs = mode.inputs[""]
    module = serving_module(mode.model, inputs, {"forward": "train"})
    before = {name: value.clone() for name, value in mode.model.state_dict().items()}
    with mode.model.undisturbed():
        exported = export_program(module, inputs, inputs.tensors(inputs.rows(2)), "The test")
    assert all(torch.equal(value, before[name]) for name, value in mode.model.state_dict().items())
    x, label = torch.randn(8, 4), torch.randint(3, (8,))
    trained = exported.module()
    one, two = (trained(x=x, label=label)["predictions"] for _ in range(2))
    assert not torch.equal(one, two)
    assert 0 < (one == 0).sum() < one.numel()
    trained(x=x, label=label)["loss"].backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())


def test_quiet_leaves_loggers_and_warnings_as_they_were():
    logger = logging.getLogger("torch.onnx")
    level, filters = logger.level, list(warnings.filters)
    with quiet():
        assert logger.level == logging.ERROR
        warnings.warn("nobody hears it", stacklevel=1)
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert logger.level == level
    assert warnings.filters == filters
