"""Sparse gradients in a graph: as the indices and values that they are made of; compilers know no sparse tensors."""

from typing import Any

import torch
from torch import fx

from torchestimator.capture.errors import CaptureError

_aten: Any = torch.ops.aten
_MADE_BY = (
    _aten._sparse_coo_tensor_with_dims_and_tensors.default,
    _aten._sparse_coo_tensor_unsafe.default,
)
_PARTS = {_aten._indices.default: 0, _aten._values.default: 1}


def take_apart(graph: fx.Graph) -> None:
    """Replaces what reads indices and values of sparse tensors by the tensors that these were made of.

    Args:
        graph: is changed; what remains of sparse tensors in it is removed.

    Raises:
        CaptureError: something else than an optimizer of `te.optim` reads a sparse gradient.
    """
    found = [node for node in graph.nodes if node.op == "call_function" and node.target in _PARTS]
    if not found:
        return
    for node in found:
        with graph.inserting_before(node):
            node.replace_all_uses_with(_parts(graph, node.args[0])[_PARTS[node.target]])
        graph.erase_node(node)
    graph.eliminate_dead_code()


def _parts(graph: fx.Graph, sparse: Any) -> tuple[Any, Any]:
    """Indices and values of a sparse tensor in a graph."""
    if sparse.target in _MADE_BY:
        return (sparse.args[3], sparse.args[4]) if sparse.target is _MADE_BY[0] else (sparse.args[0], sparse.args[1])
    if sparse.target in (_aten.detach.default, _aten.alias.default):
        return _parts(graph, sparse.args[0])
    if sparse.target is _aten.add.Tensor and not sparse.kwargs:
        # One table was looked up twice.
        one, other = (_parts(graph, each) for each in sparse.args)
        indices = graph.call_function(_aten.cat.default, ([one[0], other[0]], 1))
        return indices, graph.call_function(_aten.cat.default, ([one[1], other[1]], 0))
    raise CaptureError(
        f"model_fn: a sparse gradient goes through {sparse.target}, which a compiled step can't follow. "
        "te.optim has optimizers for sparse gradients"
    )
