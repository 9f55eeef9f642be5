"""Convolutions compute the same, however they are laid out, and store what they read once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchestimator.capture.compiler import compile_graph
from torchestimator.capture.layouts import choose_layouts
from torchestimator.capture.tracing import trace


class Strided(nn.Module):
    """Reads an image by its strides, which therefore have to stay."""

    def forward(self, images):
        return images * images.as_strided(images.shape, images.stride()).flip(3)


class Block(nn.Module):
    """A convolution whose input is read by another one, by an addition and by a view."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, groups=2)

    def forward(self, images):
        summed = self.one(images) + self.two(images) + images
        return summed.view(len(images), 8, -1).softmax(-1).view(images.shape) * images


NETS = {
    "strided": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Strided(), nn.Conv2d(8, 8, 3), nn.Flatten()),
    "block": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), Block(), nn.Flatten()),
    "transposed": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten()),
    "channels last": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()).to(
        memory_format=torch.channels_last
    ),
}


def step_of(net):
    """A function of (images, parameters) that gives the loss and the parameters after a step of descent."""
    names = [name for name, _ in net.named_parameters()]

    def step(images, *parameters):
        with torch.enable_grad():
            leaves = [parameter.detach().requires_grad_() for parameter in parameters]
            loss = torch.func.functional_call(net, dict(zip(names, leaves, strict=True)), images).square().mean()
            gradients = torch.autograd.grad(loss, leaves)
        pairs = zip(leaves, gradients, strict=True)
        return [loss.detach(), *(leaf.detach() - 0.1 * gradient for leaf, gradient in pairs)]

    return step


@pytest.mark.parametrize("name", NETS)
def test_a_compiled_step_equals_the_eager_one(name):
    torch.manual_seed(0)
    net = NETS[name]().eval()
    inputs = [torch.randn(4, 3, 10, 10), *(parameter.detach() for parameter in net.parameters())]
    step = step_of(net)
    expected = step(*inputs)
    results = compile_graph(trace(step, inputs), inputs)(*inputs)
    for result, value in zip(results, expected, strict=True):
        torch.testing.assert_close(result, value, rtol=1e-4, atol=1e-5)


def traced(net):
    inputs = [torch.randn(4, 3, 10, 10), *(parameter.detach() for parameter in net.parameters())]
    graph = trace(step_of(net), inputs).graph
    choose_layouts(graph)
    graph.lint()
    return graph


def stored_inputs(graph):
    """The inputs that convolutions store for their gradients, those of the whole graph left out."""
    target = torch.ops.aten.convolution_backward.default
    nodes = [node.args[1] for node in graph.find_nodes(op="call_function", target=target)]
    return [node.meta["val"] for node in nodes if node.op == "call_function"]


def test_what_convolutions_store_is_channels_last():
    stored = stored_inputs(traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))))
    assert len(stored) == 1
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in stored)


def test_what_is_read_by_its_strides_keeps_them():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(8, 8, 3)

        def forward(self, images):
            return self.inner(images).sum() + F.relu(images.as_strided(images.shape, images.stride()))

    (stored,) = stored_inputs(traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Read())))
    assert stored.is_contiguous()


def test_gradients_are_laid_out_as_the_weights():
    for layout in (torch.contiguous_format, torch.channels_last):
        graph = traced(nn.Conv2d(3, 8, 3).to(memory_format=layout))
        (node,) = graph.find_nodes(op="call_function", target=torch.ops.prims.inductor_force_stride_order.default)
        assert node.meta["val"].is_contiguous(memory_format=layout)
