import pytest
import torch
from torch import tensor

from torchestimator import feature_column as fc
from torchestimator.feature_column.feature_values import dense_values, feature_values
from torchestimator.inputs.fingerprint import fingerprint64


def rows(value, **options):
    values, absent = feature_values(value, "f", **options)
    pairs = zip(values.tolist(), absent.tolist(), strict=True)
    return [[None if gone else one for one, gone in zip(row, missing, strict=True)] for row, missing in pairs]


def test_ragged_values_are_padded():
    ragged = fc.RaggedFeature(tensor([1, 2, 3]), tensor([0, 2, 2, 3], dtype=torch.int32))
    assert rows(ragged) == [[1, 2], [None, None], [3, None]]


def test_ragged_strings_become_fingerprints():
    values = feature_values(fc.RaggedFeature(["a", "", "b"], [0, 2, 3]), "f").values
    assert values.flatten()[:3].tolist() == fingerprint64(["a", "", "b"]).tolist()


def test_nested_values_are_padded():
    nested = torch.nested.nested_tensor([tensor([1, 2]), tensor([3])], layout=torch.jagged)
    assert rows(nested) == [[1, 2], [3, None]]


def test_sparse_values_move_to_the_front_or_stay():
    sparse = torch.sparse_coo_tensor([[0, 1, 1], [3, 4, 1]], [7, 8, 9], (2, 6), check_invariants=True)
    assert rows(sparse) == [[7, None], [9, 8]]
    assert rows(sparse, keep_places=True) == [[None, None, None, 7, None, None], [None, 9, None, None, 8, None]]


def test_dense_values_are_as_they_are():
    values = tensor([[1, 2]])
    assert feature_values(values, "f").values is values
    assert feature_values(values, "f").absent is None
    assert dense_values([1.0, 2.0], "f").tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 3, 1, 3], []])
def test_offsets_must_fit(offsets):
    with pytest.raises(ValueError, match="offsets"):
        feature_values(fc.RaggedFeature(tensor([1, 2, 3]), torch.tensor(offsets, dtype=torch.int64)), "f")


def test_other_layouts_are_refused():
    with pytest.raises(ValueError, match=r"\[batch, k\]. Received: \[2, 2, 2\]"):
        feature_values(torch.ones(2, 2, 2).to_sparse(), "f")
    nested = torch.nested.nested_tensor([torch.ones(2, 2, 2)], layout=torch.jagged)
    with pytest.raises(ValueError, match=r"torch.jagged"):
        feature_values(nested, "f")
