"""Graphs without sparse tensors compute what the sparse gradients would."""

import pytest
import torch
import torch.nn.functional as F

from torchestimator.capture.errors import CaptureError
from torchestimator.capture.sparse_gradients import take_apart
from torchestimator.capture.tracing import trace

IDS = torch.tensor([3, 7, 3, 3, 0])
OTHER = torch.tensor([7, 1])
TABLE = torch.arange(20.0).reshape(10, 2) / 10


def gradient_of(*lookups):
    """A function of table and ids that gives the rows that a sparse gradient touches, and its values."""

    def function(table, *ids):
        leaf = table.detach().requires_grad_(True)
        loss = sum(look(F.embedding(each, leaf, sparse=True)) for look, each in zip(lookups, ids, strict=True))
        (gradient,) = torch.autograd.grad(loss, [leaf])
        return gradient._indices(), gradient._values()

    return function


def dense(indices, values):
    return torch.zeros(10, 2).index_add_(0, indices[0], values)


@pytest.mark.parametrize(
    ("lookups", "ids"),
    [
        ([lambda rows: rows.pow(2).sum()], [IDS]),
        ([lambda rows: rows.pow(2).sum(), lambda rows: rows.exp().sum()], [IDS, OTHER]),
    ],
    ids=["one lookup", "two lookups of one table"],
)
def test_indices_and_values_are_those_of_the_gradient(lookups, ids):
    function = gradient_of(*lookups)
    inputs = [TABLE, *ids]
    with torch.enable_grad():
        graph = trace(function, inputs)
    take_apart(graph.graph)
    graph.recompile()
    assert "sparse" not in graph.code
    torch.testing.assert_close(dense(*graph(*inputs)), dense(*function(*inputs)))


def test_graphs_without_sparse_tensors_stay_as_they_are():
    graph = trace(lambda x: x * 2, [TABLE])
    before = graph.code
    take_apart(graph.graph)
    graph.recompile()
    assert graph.code == before


def test_other_uses_of_a_sparse_gradient_are_named():
    def function(table, ids):
        leaf = table.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.embedding(ids, leaf, sparse=True).sum(), [leaf])
        return (gradient * 2)._values()

    with torch.enable_grad():
        graph = trace(function, [TABLE, IDS])
    with pytest.raises(CaptureError, match=r"sparse gradient goes through aten\.mul"):
        take_apart(graph.graph)
