"""TorchScript files."""

import json
import warnings

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.export.models import ROWS, predicting, raw, serving
from torchestimator.export.conversion_error import ExportError
from torchestimator.export.torchscript import save_script, trace_methods, trace_tuple

PredictOutput = te.export.PredictOutput


def batches(inputs, sizes=(2, 1, 7)):
    return [inputs.tensors(inputs.rows(size)) for size in sizes]


def traced(model_fn, receiver_fn=None, **methods):
    module, inputs = serving(model_fn, receiver_fn, **methods)
    return trace_methods(module, inputs, list(methods or {"forward": ""}), batches(inputs)), module


def loaded(path):
    extra = {"signatures.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(path, _extra_files=extra)
    return script, json.loads(extra["signatures.json"])


def two_signatures(features, scores):
    return {
        "serving_default": PredictOutput({"scores": scores, "sum": scores.sum(-1)}),
        "doubled": PredictOutput({"twice": 2 * scores}),
    }


def test_all_signatures_are_methods_of_one_file(tmp_path):
    script, module = traced(predicting(two_signatures), forward="serving_default", doubled="doubled")
    path = str(tmp_path / "model.pt")
    save_script(script, path, {"serving_default": {"method_name": "predict"}})
    again, signatures = loaded(path)
    assert signatures == {"serving_default": {"method_name": "predict"}}
    for count in (1, 5):
        x = torch.randn(count, 4)
        got = again.forward(x=x)
        assert {name: tuple(value.shape) for name, value in got.items()} == {"scores": (count, 3), "sum": (count, 1)}
        torch.testing.assert_close(got["scores"], module(x=x)["scores"])
        torch.testing.assert_close(again.doubled(x=x)["twice"], 2 * got["scores"])


def test_a_tuple_in_the_order_that_is_asked_for():
    module, inputs = serving(predicting(two_signatures), raw(x=ROWS, unused=ROWS))
    script = trace_tuple(module, ["sum", "scores"], batches(inputs))
    x = torch.randn(4, 4)
    total, scores = script(x, x)
    assert (total.shape, scores.shape) == ((4, 1), (4, 3))
    torch.testing.assert_close(total[:, 0], scores.sum(-1))


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "attention"])
def test_layers_of_torch_that_look_at_sizes(layer):
    def model_fn(features, mode):
        x = features["x"]
        if layer == "attention":
            net = te.get_module("net", lambda: torch.nn.MultiheadAttention(4, 2, batch_first=True))
            return te.EstimatorSpec(mode, predictions=net(x, x, x)[0])
        net = te.get_module("net", lambda: getattr(torch.nn, layer)(4, 3, batch_first=True))
        return te.EstimatorSpec(mode, predictions=net(x)[0][:, -1])

    x = np.random.default_rng(0).standard_normal((3, 5, 4)).astype("float32")
    script, module = traced(model_fn, raw(x=x))
    for count in (1, 3, 9):
        rows = torch.randn(count, 5, 4)
        torch.testing.assert_close(script(x=rows), module(x=rows))


def test_constants_may_be_constants():
    def outputs(features, scores):
        boundaries = torch.tensor([-0.5, 0.5])
        return {"buckets": torch.bucketize(scores, boundaries), "fixed": scores + torch.from_numpy(ROWS[:1, :3])}

    script, module = traced(predicting(outputs))
    x = torch.randn(5, 4)
    assert torch.equal(script(x=x)["buckets"], module(x=x)["buckets"])
    torch.testing.assert_close(script(x=x)["fixed"], module(x=x)["fixed"])


def item(features, scores):
    return {"y": scores * scores.sum().item()}


def if_value(features, scores):
    return {"y": scores if scores.sum() > 0 else -scores}


def fixed(features, scores):
    return {"y": torch.zeros(int(scores.shape[0]), 3) + scores}


def constant_of_a_value(features, scores):
    return {"y": scores + torch.tensor([float(scores[0, 0])])}


@pytest.mark.parametrize("function", [item, if_value, fixed, constant_of_a_value])
def test_values_that_the_trace_would_keep(function):
    with pytest.raises(ExportError, match=r"trace failed at test_torchscript.py, line \d+, `return .*reads the value"):
        traced(predicting(function))


def loop(features, scores):
    return {"y": torch.stack([row * 2 for row in scores.unbind(0)])}


def test_a_loop_over_rows_that_the_trace_unrolls():
    with pytest.raises(ExportError, match="The TorchScript trace failed at"):
        traced(predicting(loop))
