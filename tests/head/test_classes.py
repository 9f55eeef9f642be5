"""Ids and names of classes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.head.cases import strings_of, words
from torchestimator.head.classes import Classes
from torchestimator.strings import Vocabulary


@settings(deadline=None, max_examples=15)
@given(
    names=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=40, unique=True),
    data=st.data(),
)
def test_every_name_has_its_id_and_no_other_string_has_one(names, data):
    classes = Classes(len(names), names)
    labels = data.draw(st.lists(st.sampled_from(names) | st.text(st.characters(codec="utf-8"), max_size=5), min_size=1))
    expected = [names.index(label) if label in names else -1 for label in labels]
    assert classes.ids_of(words(labels)).tolist() == expected
    known = torch.tensor([max(index, 0) for index in expected])
    assert strings_of(classes.names_of(known)) == [names[index] for index in known.tolist()]


def test_all_classes():
    classes = Classes(3, Vocabulary(["a", "b", "c"]))
    logits = torch.zeros(2, 3)
    assert classes.all_ids(logits).tolist() == [[0, 1, 2]] * 2
    assert strings_of(classes.all_names(logits)) == [["a", "b", "c"]] * 2
    assert strings_of(Classes(11, None).all_names(torch.zeros(1, 11)))[0][-1] == "10"


def test_strings_outside_of_the_vocabulary_are_shown():
    classes = Classes(2, ["<=50K", ">50K"])
    labels = words([" >50K.", "<=50K", "<=50k", "whatever", ""])
    message = classes.explain(labels, classes.ids_of(labels) == -1)
    assert "['<=50K', '>50K']" in message
    assert "' >50K.' (row 0), '<=50k' (row 2), a string that is none of them (row 3), and 1 more of 5" in message
    assert ".strip()" in message


def test_ids_where_names_are_wanted():
    message = Classes(2, ["no", "yes"]).explain(torch.tensor([0, 1]), torch.tensor([True, True]))
    assert "Received: 0 (row 0), 1 (row 1) of 2. These are ids; leave `label_vocabulary` out" in message


def test_many_names_are_cut_short():
    names = [f"name{index}" for index in range(30)]
    assert "'name9'] and 20 more" in Classes(30, names).explain(words(["x"]), torch.tensor([True]))


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("ab", TypeError, "list of strings"),
        ([1, 2], TypeError, "list of strings"),
        ([], ValueError, "Received: 0 names"),
        (["a", "b", "c"], ValueError, "Received: 3 names"),
        (["a", "a"], ValueError, r"more than once: \['a'\]"),
    ],
)
def test_bad_vocabularies(names, error, message):
    with pytest.raises(error, match=message):
        Classes(2, names)
