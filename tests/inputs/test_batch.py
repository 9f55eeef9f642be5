"""Batches of users turned into tensors and checked."""

from collections import OrderedDict, UserDict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from torchestimator.inputs import fingerprint64
from torchestimator.inputs.batch import batch_size_of, check_batch, leaves_of, to_tensors
from torchestimator.inputs.ragged import RaggedFeature


class Pair(NamedTuple):
    left: Any
    right: Any


def test_tensors_stay_the_same_objects():
    tensor = torch.zeros(2)
    assert to_tensors(tensor) == (tensor, {})
    assert to_tensors(tensor)[0] is tensor
    features, strings = to_tensors({"a": tensor, "b": {"c": [tensor, (tensor,)]}})
    assert features["a"] is tensor
    assert features["b"]["c"][0] is tensor
    assert features["b"]["c"][1][0] is tensor
    assert strings == {}
    parameter = torch.nn.Parameter(tensor)
    assert to_tensors({"a": parameter})[0]["a"] is parameter


def test_dicts_are_new_so_that_a_model_may_pop_from_them():
    for given in ({"a": torch.zeros(1)}, {"a": {"b": torch.zeros(1)}}):
        features, _ = to_tensors(given)
        features.pop("a")
        assert list(given) == ["a"]


def test_nested_structures_keep_their_form():
    given = OrderedDict(
        a=np.ones(2, np.float32), b=UserDict(c=[1, 2]), d=Pair(np.zeros(2, bool), (np.array([0.5, 1]), 3))
    )
    features, _ = to_tensors(given)
    assert type(features) is dict
    assert type(features["b"]) is dict
    assert features["b"]["c"].tolist() == [1, 2]
    assert isinstance(features["d"], Pair)
    assert isinstance(features["d"].right, tuple)
    assert features["d"].right[0].dtype is torch.float32
    assert features["d"].right[1].shape == ()


def test_a_frame_becomes_a_dict_of_its_columns():
    frame = pd.DataFrame({"age": [1, 2], "city": ["Rome", "Oslo"], "height": [1.5, 2.5]})
    features, strings = to_tensors({"user": frame}, keep_strings=True)
    assert features["user"]["age"].tolist() == [1, 2]
    assert features["user"]["height"].dtype is torch.float32
    assert features["user"]["city"].tolist() == fingerprint64(["Rome", "Oslo"]).tolist()
    assert {path: values.tolist() for path, values in strings.items()} == {("user", "city"): ["Rome", "Oslo"]}


def test_a_frame_with_a_column_twice_is_refused():
    with pytest.raises(ValueError, match=r"columns of `features`.*\['a'\]"):
        to_tensors(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize(
    "strings",
    [["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array([b"a", b"b"]), pd.Series(["a", "b"], dtype="category")],
)
def test_strings_become_fingerprints_and_can_be_had_back(strings):
    features, kept = to_tensors({"x": {"y": strings}}, keep_strings=True)
    assert features["x"]["y"].tolist() == fingerprint64(["a", "b"]).tolist()
    assert features["x"]["y"].dtype is torch.int64
    assert list(kept) == [("x", "y")]
    assert isinstance(kept["x", "y"], np.ndarray)
    assert [str(text.decode() if isinstance(text, bytes) else text) for text in kept["x", "y"]] == ["a", "b"]
    assert to_tensors({"x": {"y": strings}})[1] == {}


def test_a_bare_string_array_has_the_empty_path():
    features, kept = to_tensors(np.array([["a"], ["b"]]), keep_strings=True)
    assert features.shape == (2, 1)
    assert kept[()].tolist() == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        ({"user": {"name": [1, None]}}, r'features\["user"\]\["name"\]'),
        ({"user": {"name": ["a", None]}}, r'features\["user"\]\["name"\]'),
        ({"a": [torch.zeros(1), None]}, r'features\["a"\]\[1\]'),
        ({3: object()}, r"features\[3\]"),
        (object(), "features"),
        (None, "features"),
    ],
)
def test_errors_name_the_path(structure, name):
    with pytest.raises(TypeError, match=f"^`{name}`"):
        to_tensors(structure)
    with pytest.raises(TypeError, match=r"^`labels"):
        to_tensors(structure, name="labels")


def test_batches_that_agree_pass():
    check_batch({"a": torch.zeros(3, 2), "b": [torch.zeros(3)]}, {"c": torch.zeros(3, 1)})
    check_batch(torch.zeros(0, 2), None)


def test_sizes_that_differ_are_listed():
    with pytest.raises(ValueError, match=r'features\["a"\] \[3, 2\], features\["b"\] \[4\], labels \[3\]'):
        check_batch({"a": torch.zeros(3, 2), "b": torch.zeros(4)}, torch.zeros(3))


def test_single_examples_are_sent_to_a_data_loader():
    with pytest.raises(ValueError, match=r"no dimension: labels\..*DataLoader\(dataset, batch_size="):
        check_batch(torch.zeros(20), torch.tensor(1))
    with pytest.raises(ValueError, match="DataLoader"):
        check_batch({"image": torch.zeros(28, 28), "weight": torch.zeros(1)}, None)


@pytest.mark.parametrize("features", [{}, {"a": {}}, []])
def test_a_batch_without_features_is_refused(features):
    with pytest.raises(ValueError, match="`features` holds no tensor"):
        check_batch(features, torch.zeros(3))
    with pytest.raises(ValueError, match="`features` holds no tensor"):
        batch_size_of(features)


def test_batch_size():
    assert batch_size_of(torch.zeros(5, 2)) == 5
    assert batch_size_of({"a": {"b": (torch.zeros(4),)}, "c": torch.zeros(3)}) == 4
    assert batch_size_of(torch.nn.Parameter(torch.zeros(2, 1))) == 2


def test_leaves_have_written_paths():
    assert list(leaves_of({"a": {1: "x"}, "b": ["y"]}, "features")) == [
        ('features["a"][1]', "x"),
        ('features["b"][0]', "y"),
    ]


def test_named_tuples_of_lists_keep_their_form():
    features, strings = to_tensors({"words": RaggedFeature(["a", "b", "a"], [0, 2, 3])}, keep_strings=True)
    assert isinstance(features["words"], RaggedFeature)
    assert features["words"].values.tolist() == fingerprint64(["a", "b", "a"]).tolist()
    assert features["words"].offsets.tolist() == [0, 2, 3]
    assert {path: values.tolist() for path, values in strings.items()} == {("words", 0): ["a", "b", "a"]}
    pair, _ = to_tensors(Pair([1, 2], [3, 4]))
    assert (pair.left.tolist(), pair.right.tolist()) == ([1, 2], [3, 4])


def ragged(*lengths):
    ends = np.cumsum([0, *lengths])
    return RaggedFeature(torch.zeros(ends[-1], dtype=torch.int64), torch.from_numpy(ends))


def test_the_rows_of_ragged_features_count():
    check_batch({"words": ragged(2, 0, 5), "age": torch.zeros(3)}, torch.zeros(3, 1))
    check_batch({"words": ragged()}, None)
    assert batch_size_of({"words": ragged(2, 0, 5), "age": torch.zeros(3)}) == 3
    assert batch_size_of(ragged(1, 1)) == 2
    with pytest.raises(ValueError, match=r'features\["words"\] \[2 rows\], features\["age"\] \[3\], labels \[2\]'):
        check_batch({"words": ragged(1, 2), "age": torch.zeros(3)}, torch.zeros(2))
    with pytest.raises(ValueError, match=r'no dimension: labels\. Received: features\["words"\] \[1 rows\]'):
        check_batch({"words": ragged(4)}, torch.tensor(1))


def test_a_ragged_feature_is_one_leaf():
    words = ragged(1, 2)
    assert list(leaves_of({"words": words, "pair": (1, words)}, "features")) == [
        ('features["words"]', words),
        ('features["pair"][0]', 1),
        ('features["pair"][1]', words),
    ]
