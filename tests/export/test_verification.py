"""Comparing artifacts with the model."""

import re

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.export.models import ROWS, plans, predicting, raw
from torchestimator.export.conversion_error import ExportError
from torchestimator.export.verification import Reference, seeded


def outputs(features, scores):
    return {
        "scores": scores,
        "broken": torch.stack([scores[:, 0] * float("nan"), scores[:, 1].abs() * float("inf"), scores[:, 2]], 1),
        "id": scores.argmax(-1),
        "class": te.index_to_string(scores.argmax(-1), ["low", "middle", "high"]),
        "row": features["row"],
        "half": scores.half(),
        "double": scores.double(),
    }


ROW_NAMES = np.array(["a", "b", "c"], object)


@pytest.fixture(scope="module")
def plan():
    (made,) = plans(predicting(outputs), raw(x=ROWS, row=ROW_NAMES)).values()
    return made


@pytest.fixture(scope="module")
def reference(plan):
    return Reference(plan.module, plan.inputs, plan.outputs)


@pytest.fixture
def artifact(plan):
    """Makes a function such as artifacts are, whose outputs another function changes."""

    def changed(change=lambda outputs: outputs):
        def run(rows):
            tensors = plan.inputs.tensors(rows)
            found = plan.module(**{plan.inputs.identifiers[key]: each for key, each in tensors.items()})
            arrays = {key: found[output.info.name].numpy() for key, output in plan.outputs.items()}
            arrays["class"] = np.array(["low", "middle", "high"], object)[arrays["class"]]
            arrays["row"] = rows["row"].reshape(-1, 1)
            return change(arrays) or arrays

        return run

    return changed


def test_what_is_equal_is_equal_even_where_it_is_nan(reference, artifact):
    assert reference.batch_sizes == [1, 2, 7]
    assert reference.compare(artifact(), "The file") == 0


def failure(reference, run):
    with pytest.raises(ExportError) as caught:
        reference.compare(run, "The file")
    return str(caught.value)


def replacing(key, function, batch=None):
    def change(arrays):
        if batch is None or len(arrays[key]) == batch:
            arrays[key] = function(arrays[key])

    return change


@pytest.mark.parametrize(
    ("key", "function", "problem"),
    [
        ("scores", lambda a: a + 1, r"values differ by up to 1(\.\d+)?, more than 0.000"),
        ("scores", lambda a: a[:, :2], r"shape \[2, 2\] instead of \[2, 3\]"),
        ("scores", lambda a: a.astype(np.float64), "dtype float64 instead of float32"),
        ("scores", lambda a: a * np.nan, "values differ by up to nan, more than"),
        ("broken", np.nan_to_num, "values differ by up to nan, more than"),
        ("broken", lambda a: a + np.float32([[0, 0, 1]]), "values differ by up to 1"),
        ("broken", lambda a: a * np.float32([[1, -1, 1]]), "values differ by up to inf"),
        ("id", lambda a: a + (np.arange(len(a)) == 0)[:, None], "1 of 2 values differ"),
        ("id", lambda a: a.astype(np.int32), "dtype int32 instead of int64"),
        ("class", lambda a: np.full_like(a, ""), "2 of 2 values differ"),
        ("row", lambda a: a[::-1], "2 of 2 values differ"),
        ("half", lambda a: a + np.float16(1), "values differ by up to"),
        ("double", lambda a: a + 1e-3, "values differ by up to 0.001"),
    ],
)
def test_the_table_names_the_output_and_the_batch(reference, artifact, key, function, problem):
    text = failure(reference, artifact(replacing(key, function, batch=2)))
    first, line = text.splitlines()
    assert first == "The file differs from the model:"
    assert re.search(rf"^  batch 2   {key} +{problem}", line)


def test_every_wrong_batch_is_in_the_table(reference, artifact):
    lines = failure(reference, artifact(replacing("id", lambda a: a + 1))).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["batch", size, "id"] for size in ("1", "2", "7")]


def test_small_differences_are_told_and_allowed(reference, artifact):
    noise = 2e-5
    found = reference.compare(artifact(replacing("scores", lambda a: a + np.float32(noise))), "The file")
    assert 0.5 * noise < found < 2 * noise


def test_names_and_their_order(reference, artifact):
    text = failure(reference, artifact(lambda arrays: {**arrays, "extra": arrays["id"]}))
    assert "The file gives the outputs ['scores', 'broken', 'id'" in text
    assert "'extra'], the model gives ['scores'" in text
    assert "the model gives" in failure(reference, artifact(lambda arrays: dict(reversed(arrays.items()))))


def test_a_batch_that_fails(reference, artifact):
    def breaks(arrays):
        if len(arrays["id"]) == 7:
            raise RuntimeError("wrong size\nand more")

    text = failure(reference, artifact(breaks))
    assert text.startswith("The file can't run a batch of 7: RuntimeError: wrong size. A size that is a constant")


def test_a_fixed_batch_is_the_only_one_compared():
    receiver_fn = te.export.build_raw_serving_input_receiver_fn({"x": ROWS}, default_batch_size=4)
    (made,) = plans(receiver_fn=receiver_fn).values()
    assert Reference(made.module, made.inputs, made.outputs).batch_sizes == [4]


def test_random_numbers_are_the_same_for_both_and_nobody_else_notices():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    draws = []
    for _ in range(2):
        with seeded():
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(torch.rand(2), expected)
