"""Batches of one signature run in one graph; others are told apart and described."""

import json
from typing import NamedTuple

import pytest
import torch

from torchestimator.capture.signature import Signature, rebuilt
from torchestimator.strategy.strategy import Batch


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


def batch(rows=4, dtype=torch.float32, **more):
    x = torch.arange(rows * 3).reshape(rows, 3).to(dtype)
    return Batch({"x": x, "deep": [x + 1, Pair(x + 2, x + 3)], **more}, torch.ones(rows), {})


def test_tensors_come_in_the_order_of_the_signature():
    first, other = batch(), batch()
    tensors = Signature.of(first).tensors(other)
    deep = other.features["deep"]
    expected = [other.features["x"], deep[0], deep[1].left, deep[1].right, other.labels]
    assert [id(tensor) for tensor in tensors] == [id(tensor) for tensor in expected]
    assert rebuilt(first.features, list(tensors)) == other.features


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (batch(rows=3), "features['x'] is float32 [3, 3] instead of [4, 3]"),
        (batch(dtype=torch.int32), "features['x'] is int32 [4, 3] instead of float32 [4, 3]"),
        (Batch({"x": torch.ones(4, 3)}, torch.ones(4), {}), "features['deep'][0]"),
        (batch()._replace(labels=None), "labels"),
    ],
)
def test_another_signature_is_noticed_and_described(other, difference):
    signature = Signature.of(batch())
    assert signature.tensors(other) is None
    assert difference.replace(" instead of [4, 3]", "") in signature.difference(other)


def test_json_and_back():
    signature = Signature.of(batch())
    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature
