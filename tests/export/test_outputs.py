"""What serving signatures give back."""

import pytest
import torch
from torch import nn

import torchestimator as te
from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE, with_default_signature

SCORES = torch.rand(3, 2)
CLASSES = torch.arange(6).reshape(3, 2)


def test_method_names_are_tensorflow_servings():
    assert te.export.ClassificationOutput.method_name == "tensorflow/serving/classify"
    assert te.export.RegressionOutput.method_name == "tensorflow/serving/regress"
    assert te.export.PredictOutput.method_name == "tensorflow/serving/predict"
    assert te.export.EvalOutput.method_name == "tensorflow/supervised/eval"
    assert DEFAULT_SERVING_SIGNATURE == "serving_default"


def test_classification():
    both = te.export.ClassificationOutput(SCORES, CLASSES)
    assert both.outputs == {"scores": SCORES, "classes": CLASSES}
    assert (both.scores, both.classes) == (SCORES, CLASSES)
    assert te.export.ClassificationOutput(SCORES).outputs == {"scores": SCORES}
    assert te.export.ClassificationOutput(classes=CLASSES).outputs == {"classes": CLASSES}
    assert repr(both) == "ClassificationOutput(scores, classes)"


def test_regression():
    output = te.export.RegressionOutput(SCORES)
    assert output.outputs == {"outputs": SCORES}
    assert output.value is SCORES


def test_predictions():
    assert te.export.PredictOutput(SCORES).outputs == {"output": SCORES}
    named = te.export.PredictOutput({"a": SCORES, ("head", "logits"): SCORES, ("head", 1): CLASSES}).outputs
    assert list(named) == ["a", "head/logits", "head/1"]
    assert named["head/1"] is CLASSES


def test_evaluation():
    loss, value = torch.ones(()), torch.zeros(())
    output = te.export.EvalOutput(loss, {"a": SCORES}, {"accuracy": value})
    assert output.outputs == {"loss": loss, "predictions/a": SCORES, "metrics/accuracy/value": value}
    assert te.export.EvalOutput(predictions=SCORES).outputs == {"predictions": SCORES}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (te.export.ClassificationOutput, ValueError, "needs `scores`, `classes` or both"),
        (
            lambda: te.export.ClassificationOutput(CLASSES),
            ValueError,
            r"`scores` must be a floating .*int64, shape \[3, 2\]",
        ),
        (
            lambda: te.export.ClassificationOutput(SCORES, ["a"]),
            ValueError,
            "`classes` must be a tensor of ids.*Received: list",
        ),
        (lambda: te.export.RegressionOutput(CLASSES), ValueError, "`value` must be a floating point tensor"),
        (lambda: te.export.RegressionOutput(nn.ReLU()), ValueError, "Received: a module ReLU"),
        (lambda: te.export.PredictOutput([SCORES]), TypeError, "`outputs` must be a tensor or a dict.*Received: list"),
        (lambda: te.export.PredictOutput({1: SCORES}), ValueError, "Keys of `outputs` must be strings. Received: 1"),
        (lambda: te.export.PredictOutput({"a": 1}), ValueError, "Received: a=int"),
    ],
)
def test_wrong_outputs_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_default_signature_is_filled_in():
    output, other = te.export.PredictOutput(SCORES), te.export.RegressionOutput(SCORES)
    assert with_default_signature(None, {"a": SCORES})[DEFAULT_SERVING_SIGNATURE].outputs == {"a": SCORES}
    assert with_default_signature({"x": output}, SCORES) == {"x": output, DEFAULT_SERVING_SIGNATURE: output}
    assert with_default_signature({}, SCORES) == {}
    both = {DEFAULT_SERVING_SIGNATURE: other, "x": output}
    assert with_default_signature(both, SCORES) == both
    with pytest.raises(ValueError, match="none is the default"):
        with_default_signature({"x": output, "y": other}, SCORES)
    with pytest.raises(TypeError, match="must be a dict from signature name"):
        with_default_signature(output, SCORES)
    with pytest.raises(TypeError, match="Received: x=int"):
        with_default_signature({"x": 1}, SCORES)
