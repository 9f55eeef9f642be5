"""Shapes and ranges of labels."""

import pytest
import torch

from torchestimator.head.labels import dense_labels, ids_within, labels_given, numbers_within, shown


def test_lists_and_strings_become_tensors():
    assert labels_given([1, 2]).tolist() == [1, 2]
    assert labels_given(["a", "b"]).dtype == torch.int64
    tensor = torch.ones(2)
    assert labels_given(tensor) is tensor


def test_a_dimension_of_one_is_added():
    labels = torch.arange(4)
    assert dense_labels(labels, torch.zeros(4, 3), 1, "").shape == (4, 1)
    assert dense_labels(labels[:, None], torch.zeros(4, 3), 1, "").shape == (4, 1)
    assert dense_labels(labels.reshape(2, 2), torch.zeros(2, 2, 3), 1, "").shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3), r"1 value per example: shape \[4, 1\]. Received: shape \[4, 3\]. Advice."),
        ((3,), r"shape \[4, 1\] or \[4\]. Received: shape \[3\]"),
        ((4, 1, 1), r"Received: shape \[4, 1, 1\]"),
        ((), r"Received: shape \[\]"),
    ],
)
def test_other_shapes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        dense_labels(torch.zeros(shape), torch.zeros(4, 3), 1, "Advice.")


def test_ranges():
    numbers = torch.tensor([0.0, 0.5, 1.0])
    assert numbers_within(numbers, 0, 1, str) is numbers
    with pytest.raises(ValueError, match="False, False,  True"):
        numbers_within(numbers, 0, 0.5, str)
    assert ids_within(torch.tensor([0, 2]), 3, str)[1] is None
    with pytest.raises(ValueError, match="True"):
        ids_within(torch.tensor([0, 3]), 3, str)
    nothing = torch.zeros(0)
    assert numbers_within(nothing, 0, 1, str) is nothing
    assert ids_within(torch.zeros(0, dtype=torch.int64), 3, str)[0].numel() == 0


def test_what_cannot_be_read_is_marked():
    away = torch.tensor([0, 5, -1], device="meta")
    ids, valid = ids_within(away, 3, str)
    assert ids.shape == valid.shape == (3,)
    assert numbers_within(away.float(), 0, 1, str).device.type == "meta"


def test_three_are_shown():
    labels = torch.tensor([[7], [0], [-1], [1234567], [9]])
    assert shown(labels, labels != 0) == "7 (row 0), -1 (row 2), 1234567 (row 3), and 1 more of 5"
    assert shown(labels.float(), labels == 7) == "7 (row 0) of 5"
