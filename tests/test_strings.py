"""Strings that a model gives back as indices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
from torchestimator.strings import StringTensor, Vocabulary, index_to_string
from torchestimator.tree import map_tensors, tensors_of

words = st.lists(st.text(max_size=5), min_size=1, max_size=8)


@settings(deadline=None, max_examples=50)
@given(words, st.lists(st.integers(-3, 12), max_size=20))
def test_an_index_becomes_its_string_and_one_outside_becomes_empty(strings, indices):
    found = Vocabulary(strings).look_up(np.array(indices, np.int64).reshape(-1, 1))
    assert found.shape == (len(indices), 1)
    assert found.dtype == object
    assert found[:, 0].tolist() == [strings[index] if 0 <= index < len(strings) else "" for index in indices]


@settings(deadline=None, max_examples=50)
@given(words, words)
def test_vocabularies_are_equal_where_their_strings_are(one, other):
    assert (Vocabulary(one) == Vocabulary(other)) == (one == other)
    assert Vocabulary(one) == Vocabulary(tuple(one))
    assert hash(Vocabulary(one)) == hash(Vocabulary(list(one)))
    assert Vocabulary(one) != one


def test_a_vocabulary_must_be_a_list_of_strings():
    for wrong in ("abc", ["a", 1], [b"a"], [None]):
        with pytest.raises(TypeError, match=r"must be a list of strings. Received: "):
            Vocabulary(wrong)
    with pytest.raises(ValueError, match=r"at least one string. Received: none"):
        Vocabulary([])


def test_indices_are_a_tensor_of_integers():
    strings = index_to_string(torch.tensor([[1], [0]], dtype=torch.int32), ["a", "b"])
    assert strings.indices.dtype == torch.int64
    assert strings.shape == (2, 1)
    assert len(strings.vocabulary) == 2
    assert repr(strings) == "StringTensor([2, 1], Vocabulary(2 strings))"
    with pytest.raises(TypeError, match=r"`indices` must be a tensor of int64. Received: torch.float32"):
        index_to_string(torch.zeros(2), ["a"])
    with pytest.raises(TypeError, match=r"Received: list"):
        index_to_string([0], ["a"])


def test_a_vocabulary_that_was_made_before_is_shared():
    vocabulary = te.Vocabulary(["a", "b"])
    assert index_to_string(torch.tensor([0]), vocabulary).vocabulary is vocabulary


def test_functions_on_nested_tensors_see_the_indices():
    strings = index_to_string(torch.tensor([1, 0]), ["a", "b"])
    (indices,) = tensors_of({"class": strings})
    assert indices is strings.indices
    mapped = map_tensors(lambda tensor: tensor + 1, {"class": strings})["class"]
    assert isinstance(mapped, StringTensor)
    assert mapped.indices.tolist() == [2, 1]
    assert mapped.vocabulary is strings.vocabulary
    assert mapped.detach().indices.tolist() == [2, 1]
