"""Memory layouts of convolutions' inputs and gradients in a compiled step."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

_CONVOLUTION_GRADIENTS = torch.ops.aten.convolution_backward.default
_BOUND_TO_STRIDES = (torch.ops.aten.as_strided.default, torch.ops.aten.as_strided_scatter.default)


def layout_pass() -> Any:
    """What TorchInductor calls on its graph before it writes kernels: `choose_layouts`, with a key for its cache."""
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class LayoutPass(CustomGraphPass):
        def __call__(self, graph: fx.Graph) -> None:
            choose_layouts(graph)

        def uuid(self) -> Any:
            return get_hash_for_files((str(Path(__file__)),))

    return LayoutPass()


def choose_layouts(graph: fx.Graph) -> None:
    """Has convolutions' inputs stored once, channels last, and the gradients of their weights as the weights are.

    On CPUs TorchInductor computes convolutions channels last. In a graph with forward and backward pass it stores what
    both read as it was traced, channels first, and again channels last for each of them; and it updates weights from
    gradients in another layout than theirs element by element. This changes no value, only where it lies.

    Args:
        graph: functional, after TorchInductor's own passes; is changed.
    """
    for node in graph.find_nodes(op="call_function", target=_CONVOLUTION_GRADIENTS):
        stored = node.args[1]
        if _is_image_on_cpu(stored) and stored.op == "call_function" and _may_change_layout(stored):
            stored.meta["val"] = stored.meta["val"].contiguous(memory_format=torch.channels_last)
        for result in list(node.users):
            if result.args[1] == 1 and _is_image_on_cpu(result):
                _store_like(graph, result, node.args[2].meta["val"])


def _is_image_on_cpu(node: fx.Node) -> bool:
    value = node.meta["val"]
    return bool(value.dim() == 4 and value.device.type == "cpu")


def _may_change_layout(node: fx.Node) -> bool:
    """Whether all that read it are torch's own operations that take any layout."""
    return all(
        getattr(user.target, "namespace", None) in {"aten", "prims"} and user.target not in _BOUND_TO_STRIDES
        for user in node.users
    )


def _store_like(graph: fx.Graph, gradient: fx.Node, weight: Tensor) -> None:
    value = torch.empty_like(weight)
    with graph.inserting_after(gradient):
        force = torch.ops.prims.inductor_force_stride_order.default
        stored = graph.call_function(force, (gradient, list(value.stride())))
    stored.meta = {**gradient.meta, "val": value}
    gradient.replace_all_uses_with(stored, delete_user_cb=lambda user: user is not stored)
