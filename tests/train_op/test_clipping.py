"""Clipping by the global norm, dense and sparse gradients alike."""

import pytest
import torch
from torch import nn

from torchestimator.train_op.clipping import clip_by_global_norm


def gradients(sparse, clip_norm):
    """The gradients of a table and a layer, made dense, after clipping."""
    torch.manual_seed(0)
    table, layer = nn.Embedding(50, 4, sparse=sparse), nn.Linear(4, 1)
    unused = nn.Parameter(torch.zeros(3))
    layer(table(torch.tensor([3, 7, 3, 3]))).pow(2).sum().backward()
    parameters = [table.weight, unused, *layer.parameters()]
    clip_by_global_norm(parameters, clip_norm)
    assert unused.grad is None
    assert table.weight.grad.is_sparse == sparse
    return [p.grad.to_dense() if p.grad.is_sparse else p.grad for p in parameters if p.grad is not None]


@pytest.mark.parametrize("clip_norm", [0.1, torch.tensor(0.1), 1e6])
def test_sparse_gradients_are_clipped_as_dense_ones(clip_norm):
    for sparse, dense in zip(gradients(True, clip_norm), gradients(False, clip_norm), strict=True):
        torch.testing.assert_close(sparse, dense)


def test_the_norm_is_the_bound():
    for sparse in (True, False):
        assert torch.cat([g.reshape(-1) for g in gradients(sparse, 0.1)]).norm() == pytest.approx(0.1, rel=1e-4)
