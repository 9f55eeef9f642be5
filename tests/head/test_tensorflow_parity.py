"""Every head against TensorFlow 2.15's: losses of batches, predictions and metrics over them.

`tensorflow_heads.json` holds cases drawn at random (head, arguments, logits, labels, weights) with what the heads of
tf.estimator gave for them in eager execution, in float32.
"""

import json
from pathlib import Path

import pytest
import torch

from torchestimator import head as heads
from torchestimator.strings import StringTensor

CASES = json.loads((Path(__file__).parent / "tensorflow_heads.json").read_text(encoding="utf-8"))
CLOSE = {"rel": 1e-5, "abs": 1e-5}


def named(case):
    return "-".join(str(part) for part in (case["head"], *case["args"].values()))


def tensors(batch):
    return torch.tensor(batch, dtype=torch.float32)


def features_of(case, index):
    return {} if case["weights"] is None else {"w": tensors(case["weights"][index])}


def regularization_of(case):
    given = case.get("regularization")
    return None if given is None else [torch.tensor(value) for value in given]


def check(head, case, features_of=features_of):
    regularization = regularization_of(case)
    eval_metrics = head.metrics(regularization_losses=regularization)
    for index, expected in enumerate(case["expected"]["losses"]):
        batch = features_of(case, index), tensors(case["logits"][index]), case["labels"][index]
        features, logits, labels = batch
        loss = head.loss(labels, logits, features=features, regularization_losses=regularization)
        assert loss.item() == pytest.approx(expected, **CLOSE)
        head.update_metrics(eval_metrics, features, logits, labels, regularization_losses=regularization)
    values = {key: metric.compute().item() for key, metric in eval_metrics.items()}
    assert values == pytest.approx(case["expected"]["metrics"], **CLOSE)


def check_prediction(value, dtype, expected):
    if isinstance(value, StringTensor):
        assert dtype == "string"
        assert value.vocabulary.look_up(value.indices.numpy()).tolist() == expected
        return
    assert str(value.dtype) == f"torch.{dtype}"
    torch.testing.assert_close(value, torch.tensor(expected, dtype=value.dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES["single"], ids=named)
def test_head(case):
    head = getattr(heads, case["head"])(**case["args"])
    check(head, case)
    predictions = head.predictions(tensors(case["logits"][0]))
    assert list(predictions) == list(case["expected"]["predictions"])
    for key, (dtype, expected) in case["expected"]["predictions"].items():
        check_prediction(predictions[key], dtype, expected)


@pytest.mark.parametrize("case", CASES["multi"], ids=lambda case: str(case["head_weights"]))
def test_multi_head(case):
    parts = [getattr(heads, name)(**arguments) for name, arguments in case["heads"]]
    head = heads.MultiHead(parts, case["head_weights"])
    check(head, case)
    predictions = head.predictions(tensors(case["logits"][0]))
    assert ["/".join(key) for key in predictions] == list(case["expected"]["predictions"])
    for (owner, key), value in predictions.items():
        check_prediction(value, *case["expected"]["predictions"][f"{owner}/{key}"])


@pytest.mark.parametrize("case", CASES["sequential"], ids=named)
def test_sequential_head(case):
    static = getattr(heads, case["head"])(**case["args"])
    head = heads.SequentialHeadWrapper(static, "mask", case["feature_columns"])

    def features_with_mask(case, index):
        return {**features_of(case, index), "mask": torch.tensor(case["mask"][index])}

    check(head, case, features_with_mask)
