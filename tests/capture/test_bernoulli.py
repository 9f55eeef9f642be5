"""Masks of a traced step are as random as those of `Tensor.bernoulli_`."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.capture.tracing import trace

COUNT = 1 << 18


def drawn(p, shape=(COUNT,), draws=1, seed=0):
    """Masks [draws, *shape] that a graph draws."""
    graph = trace(lambda x: [torch.empty_like(x).bernoulli_(p) for _ in range(draws)], [torch.empty(shape)])
    assert not any(node.target == torch.ops.aten.bernoulli_.float for node in graph.graph.nodes)
    torch.manual_seed(seed)
    return torch.stack(graph(torch.empty(shape)))


def assert_rate(hits, p):
    """Fails where a mean is more than five standard deviations from its expectation."""
    assert abs(hits.double().mean().item() - p) < 5 * math.sqrt(p * (1 - p) / hits.numel())


@given(p=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_ones_come_at_the_rate(p, seed):
    mask = drawn(p, seed=seed)
    assert ((mask == 0) | (mask == 1)).all()
    assert abs(mask.double().mean().item() - p) <= 5 * math.sqrt(p * (1 - p) / COUNT) + 1 / COUNT


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_draws_are_certain(p):
    assert (drawn(p) == p).all()


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 64, 128, 1000, 4096, 1 << 16])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_elements_are_independent(lag, seed):
    (mask,) = drawn(0.7, seed=seed)
    assert_rate(mask[lag:] * mask[:-lag], 0.49)


def test_draws_of_one_step_are_independent():
    first, second = drawn(0.5, draws=2)
    assert_rate(first * second, 0.25)


def test_each_step_draws_anew_and_the_seed_repeats_it():
    graph = trace(lambda x: torch.empty_like(x).bernoulli_(0.5), [torch.empty(COUNT)])
    torch.manual_seed(3)
    first, second = graph(torch.empty(COUNT)), graph(torch.empty(COUNT))
    assert_rate(first * second, 0.25)
    torch.manual_seed(3)
    assert torch.equal(graph(torch.empty(COUNT)), first)


def test_counts_in_groups_are_spread_as_they_should_be():
    (mask,) = drawn(0.5, draws=1)
    for groups in (mask.view(-1, 64), mask.view(64, -1).T):
        counts = groups.sum(1)
        assert counts.var().item() == pytest.approx(64 / 4, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_layout_and_dtype_stay(dtype):
    image = torch.empty(4, 8, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
    graph = trace(lambda x: torch.empty_like(x).bernoulli_(0.3), [image])
    torch.manual_seed(0)
    mask = graph(image)
    assert (mask.shape, mask.dtype, mask.stride()) == (image.shape, dtype, image.stride())
    assert_rate(mask, 0.3)
