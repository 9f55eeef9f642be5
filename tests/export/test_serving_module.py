"""Signatures as methods with the names that clients use."""

import inspect

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.export.models import ROWS, exported_mode, placeholder, predicting, raw, serving
from torchestimator.export.conversion_error import ExportError
from torchestimator.export.serving_module import ServingModule, describe_outputs, serving_module


def described(function, receiver_fn=None):
    module, inputs = serving(predicting(function), receiver_fn)
    return describe_outputs(module, inputs, "serving_default")


def shapes(outputs):
    return {key: output.info.shape for key, output in outputs.items()}


def test_arguments_are_the_names_of_the_inputs():
    features = {"x": ROWS, "age bucket": ROWS[:, 0]}
    module, _ = serving(receiver_fn=raw(**features))
    assert isinstance(module, ServingModule)
    assert list(inspect.signature(module.forward).parameters) == ["x", "age_bucket"]
    x, age = torch.from_numpy(ROWS), torch.from_numpy(ROWS[:, 0])
    by_name = module(age_bucket=age, x=x)["scores"]
    assert torch.equal(module(x, age)["scores"], by_name)
    assert by_name.shape == (3, 3)


def test_a_method_per_signature():
    def outputs(features, scores):
        return {
            "serving_default": te.export.PredictOutput({"scores": scores}),
            "doubled": te.export.PredictOutput({"twice": 2 * scores}),
        }

    module, _ = serving(predicting(outputs), forward="serving_default", doubled="doubled")
    x = torch.from_numpy(ROWS)
    assert torch.equal(module.doubled(x=x)["twice"], 2 * module(x=x)["scores"])
    assert module.export_outputs({"x": x}).keys() == {"serving_default", "doubled"}


def test_the_module_has_the_weights_and_the_mode_of_the_model():
    mode = exported_mode()
    module = serving_module(mode.model, mode.inputs[""], {"forward": "serving_default"})
    assert list(module.state_dict()) == [f"model.{name}" for name in mode.model.state_dict()]
    assert not module.training


def test_one_value_per_row_becomes_a_column():
    outputs = described(lambda features, scores: {"id": scores.argmax(-1), "scores": scores, "deep": scores[:, None]})
    assert shapes(outputs) == {"id": (-1, 1), "scores": (-1, 3), "deep": (-1, 1, 3)}
    assert [output.info.dtype for output in outputs.values()] == ["DT_INT64", "DT_FLOAT", "DT_FLOAT"]
    assert outputs["id"].info.dim_names == ("batch", None)


def test_inputs_that_are_handed_on():
    x = torch.from_numpy(ROWS)
    module, _ = serving(predicting(lambda features, scores: {"same": features["x"], "scores": scores}))
    assert module(x=x)["same"] is not x
    assert torch.equal(module(x=x)["same"], x)
    outputs = described(
        lambda features, scores: {"same": features["x"], "name": features["id"], "hash": features["id"] + 0},
        raw(x=ROWS, id=np.array(["a", "b", "c"], object)),
    )
    assert [output.info.passthrough for output in outputs.values()] == ["x", "id", None]
    assert [output.info.dtype for output in outputs.values()] == ["DT_FLOAT", "DT_STRING", "DT_INT64"]
    assert shapes(outputs) == {"same": (-1, 4), "name": (-1, 1), "hash": (-1, 1)}


def test_strings_have_their_vocabulary():
    words = te.Vocabulary(["low", "middle", "high"])
    outputs = described(lambda features, scores: {"class": te.index_to_string(scores.argmax(-1), words)})
    assert outputs["class"].vocabulary is words
    assert outputs["class"].info.dtype == "DT_STRING"
    assert shapes(outputs) == {"class": (-1, 1)}


def test_free_dimensions_of_outputs():
    def receiver_fn():
        x = placeholder(torch.float32, [None, 4], "x")
        tokens = placeholder(torch.float32, [None, "time", 2], "tokens")
        return te.export.ServingInputReceiver({"x": x, "tokens": tokens}, {"x": x, "tokens": tokens})

    def outputs(features, scores):
        tokens = features["tokens"]
        return {"sums": tokens.sum(-1), "pairs": tokens.flatten(1), "mean": tokens.mean(1), "same": tokens}

    found = described(outputs, receiver_fn)
    assert shapes(found) == {"sums": (-1, -1), "pairs": (-1, -1), "mean": (-1, 2), "same": (-1, -1, 2)}
    assert found["sums"].info.dim_names == ("batch", "time")
    assert found["pairs"].info.dim_names == ("batch", "pairs_1")


def test_examples_do_not_fix_a_free_dimension():
    def receiver_fn():
        x = placeholder(torch.float32, [None, 4], "x")
        ids = placeholder(torch.int64, [None, None], "ids", example=[[1, 2, 3], [4, 5, 6]])
        return te.export.ServingInputReceiver({"x": x, "ids": ids}, {"x": x, "ids": ids})

    found = described(lambda features, scores: {"next": features["ids"] + 1}, receiver_fn)
    assert shapes(found) == {"next": (-1, -1)}


def test_the_outputs_of_training_and_evaluation():
    receiver_fn = te.experimental.build_raw_supervised_input_receiver_fn({"x": ROWS}, np.array([0, 1, 2]))

    def model_fn(features, labels, mode):
        scores = te.get_module("net", lambda: torch.nn.Linear(4, 3))(features["x"])
        loss = torch.nn.functional.cross_entropy(scores, labels)
        metrics = {"accuracy": te.metrics.accuracy(labels, scores.argmax(-1))}
        return te.EstimatorSpec(mode, predictions={"scores": scores}, loss=loss, eval_metric_ops=metrics)

    mode = exported_mode(model_fn, receiver_fn, te.ModeKeys.EVAL)
    inputs = mode.inputs[""]
    module = serving_module(mode.model, inputs, {"forward": "eval"})
    outputs = describe_outputs(module, inputs, "eval")
    expected = {"loss": (), "predictions/scores": (-1, 3), "metrics/accuracy/value": ()}
    assert shapes(outputs) == expected
    assert outputs["predictions/scores"].info.name == "predictions_scores"
    tensors = inputs.tensors(inputs.rows(2))
    values = module(**tensors)
    right = values["predictions_scores"].argmax(-1) == tensors["label"]
    assert values["metrics_accuracy_value"].item() == right.float().mean().item()


def test_a_metric_that_fails_is_named():
    receiver_fn = te.experimental.build_raw_supervised_input_receiver_fn({"x": ROWS}, np.array([0, 1, 2]))

    class Broken(te.metrics.Mean):
        def compute(self):
            raise ValueError("no value")

    def model_fn(features, labels, mode):
        scores = te.get_module("net", lambda: torch.nn.Linear(4, 3))(features["x"])
        metrics = {"good": te.metrics.mean(scores), "bad": Broken().update(scores)}
        return te.EstimatorSpec(mode, loss=torch.nn.functional.cross_entropy(scores, labels), eval_metric_ops=metrics)

    mode = exported_mode(model_fn, receiver_fn, te.ModeKeys.EVAL)
    module = serving_module(mode.model, mode.inputs[""], {"forward": "eval"})
    with pytest.raises(ExportError, match=r"The export of the metric 'bad' failed at test_serving_module.py.*no value"):
        describe_outputs(module, mode.inputs[""], "eval")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda f, s: {"y": s.mean()}, r"'y' of the signature 'serving_default' does not have the batch as its first "),
        (lambda f, s: {"y": s.mean(0)}, r"Received: shape \[3\] for 2 rows and \[3\] for 7 rows. Give one row per exa"),
        (lambda f, s: {"y": s, "z": torch.rand_like(s)}, r"outputs \['z'\] .*differ from call to call.*torch.rand"),
        (lambda f, s: {"y": f["x"].add_(1)[:, :3] + s}, r"something that changes a feature in place \(x \+= 1"),
        (lambda f, s: {"y": torch.nn.functional.dropout(s)}, r"F.dropout without `training=False`"),
        (lambda f, s: {"y": s, "": s}, r"output of the signature 'serving_default' has no name. Received: \['y', ''\]"),
        (lambda f, s: {"y": torch.complex(s, s)}, "Received: the output 'y' of complex64"),
        (lambda f, s: {"a b": s, "a/b": s}, r"'a b' and 'a/b' of the signature .*same name once it is an identifier"),
        (lambda f, s: {"y": s if len(s) == 2 else s[..., None]}, r"'y' has 2 dimensions for one batch and 3 "),
    ],
)
def test_outputs_that_can_not_be_served(function, reason):
    with pytest.raises(ValueError, match=reason):
        described(function)


def test_a_model_that_takes_one_batch_size_only():
    with pytest.raises(RuntimeError, match="must match the size") as caught:
        described(lambda features, scores: {"y": scores + torch.ones(2, 1)})
    (note,) = caught.value.__notes__
    assert "called with a batch of 7 rows" in note
    assert "x.shape[0] or -1" in note


def test_nan_and_booleans_repeat_themselves():
    outputs = described(lambda features, scores: {"nan": scores * float("nan"), "positive": scores > 0})
    assert [output.info.dtype for output in outputs.values()] == ["DT_FLOAT", "DT_BOOL"]
