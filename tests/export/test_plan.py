"""Which signatures a model has."""

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.export.models import ROWS, linear, placeholder, plans, predicting

PredictOutput = te.export.PredictOutput


def with_outputs(**names):
    """A model with a PredictOutput of its own per name."""
    return predicting(lambda f, s: {name: PredictOutput({"scores": s * factor}) for name, factor in names.items()})


def test_one_signature_without_export_outputs():
    (plan,) = plans().values()
    assert (plan.name, plan.method_name) == ("serving_default", "tensorflow/serving/predict")
    assert (plan.stem, plan.method, plan.program) == ("serving_default", "forward", "model.pt2")
    assert plan.alias_of is None
    assert list(plan.outputs) == ["scores"]


def test_the_default_comes_first_and_the_same_output_is_written_once():
    def outputs(features, scores):
        shared = PredictOutput({"scores": scores})
        return {
            "another": shared,
            "classify": te.export.ClassificationOutput(scores.softmax(-1)),
            "serving_default": shared,
            "a regression": te.export.RegressionOutput(scores[:, 0]),
        }

    found = plans(predicting(outputs))
    assert list(found) == ["serving_default", "a regression", "another", "classify"]
    assert [plan.alias_of for plan in found.values()] == [None, None, "serving_default", None]
    assert [plan.method for plan in found.values()] == ["forward", "a_regression", "another", "classify"]
    methods = [plan.method_name.rpartition("/")[2] for plan in found.values()]
    assert methods == ["predict", "regress", "predict", "classify"]
    assert found["a regression"].program == "a_regression.pt2"
    x = torch.from_numpy(ROWS)
    assert torch.equal(
        found["classify"].module(x=x)["scores"], found["serving_default"].module(x=x)["scores"].softmax(-1)
    )


def test_a_single_output_of_another_name_is_the_default_as_well():
    found = plans(with_outputs(mine=1))
    assert list(found) == ["serving_default", "mine"]
    assert found["mine"].alias_of == "serving_default"


def test_names_that_a_module_has_already():
    found = plans(with_outputs(serving_default=1, model=2, forward=3, training=4, call=5))
    methods = [plan.method for plan in found.values()]
    assert methods == ["forward", "call_signature", "forward_signature", "model_signature", "training_signature"]
    programs = [plan.program for plan in found.values()]
    assert programs == ["model.pt2", "call.pt2", "forward.pt2", "model_signature.pt2", "training.pt2"]


def test_signatures_whose_files_would_have_one_name():
    with pytest.raises(ValueError, match=r"'a b' and 'a/b' would have the same file name 'a_b'. Rename one"):
        plans(with_outputs(**{"serving_default": 1, "a b": 2, "a/b": 3}))
    with pytest.raises(ValueError, match=r"has no name. Received: \['serving_default', ''\]"):
        plans(with_outputs(**{"serving_default": 1, "": 2}))


def test_alternatives_have_their_name_in_front():
    def receiver_fn():
        x = placeholder(torch.float32, [None, 8], "long")
        features = {"x": x[:, :4]}
        return te.export.ServingInputReceiver(features, {"long": x}, {"direct": features})

    found = plans(with_outputs(serving_default=1, other=2), receiver_fn)
    assert list(found) == ["serving_default", "other", "direct:serving_default", "direct:other"]
    assert [list(plan.inputs.placeholders) for plan in found.values()] == [["long"], ["long"], ["x"], ["x"]]
    assert found["direct:other"].stem == "direct_other"


def test_training_and_evaluation_have_one_signature_each():
    receiver_fn = te.experimental.build_raw_supervised_input_receiver_fn({"x": ROWS}, np.array([0, 1, 2]))
    for mode, name, method in (("train", "train", "training"), ("eval", "eval", "eval")):
        (plan,) = plans(linear, receiver_fn, mode).values()
        assert (plan.name, plan.method_name) == (name, f"tensorflow/supervised/{method}")
        assert list(plan.outputs) == ["loss", "predictions/scores"]
