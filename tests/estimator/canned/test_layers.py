import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchestimator.estimator.canned.layers import BatchNormalization, Dense


@settings(deadline=None, max_examples=30)
@given(inputs=st.integers(1, 60), outputs=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_dense_layers_start_within_glorots_limit(inputs, outputs, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = Dense(inputs, outputs)
    limit = math.sqrt(6 / (inputs + outputs))
    assert layer.weight.shape == (outputs, inputs)
    assert layer.weight.abs().max() <= limit
    assert not layer.bias.any()


def test_dense_layers_are_spread_evenly():
    layer = Dense(300, 200)
    limit = math.sqrt(6 / 500)
    counts = torch.histc(layer.weight.detach(), 10, -limit, limit) / layer.weight.numel()
    torch.testing.assert_close(counts, torch.full((10,), 0.1), atol=0.01, rtol=0)


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 4),
    momentum=st.sampled_from([0.9, 0.999]),
    seed=st.integers(0, 2**31),
)
def test_moving_averages_are_those_of_the_population(rows, width, momentum, seed):
    random = np.random.RandomState(seed)
    layer = BatchNormalization(width, momentum)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(random.standard_normal(width)))
        layer.bias.copy_(torch.from_numpy(random.standard_normal(width)))
    gamma, beta = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    mean, variance = np.zeros(width), np.ones(width)
    for _ in range(3):
        batch = (3 * random.standard_normal((rows, width)) + 1).astype(np.float32)
        outputs = layer(torch.from_numpy(batch)).detach().numpy()
        expected = (batch - batch.mean(0)) / np.sqrt(batch.var(0) + 1e-3) * gamma + beta
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)
        mean = momentum * mean + (1 - momentum) * batch.mean(0)
        variance = momentum * variance + (1 - momentum) * batch.var(0)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, variance, rtol=1e-4, atol=1e-6)
    layer.eval()
    expected = (batch - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer(torch.from_numpy(batch)).detach(), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-4, atol=1e-6)


def test_the_moving_variance_is_not_torchs():
    batch = torch.tensor([[1.0], [3.0]])
    ours, theirs = BatchNormalization(1, momentum=0.5), nn.BatchNorm1d(1, momentum=0.5)
    ours(batch)
    theirs(batch)
    assert ours.running_var.item() == pytest.approx(0.5 + 0.5 * 1)
    assert theirs.running_var.item() == pytest.approx(0.5 + 0.5 * 2)


def test_gradients_are_those_of_torch():
    torch.manual_seed(0)
    batch, target = torch.randn(5, 3), torch.randn(5, 3)
    found = []
    for layer in (BatchNormalization(3), nn.BatchNorm1d(3, eps=1e-3)):
        inputs = batch.clone().requires_grad_()
        (layer(inputs) * target).sum().backward()
        found.append([inputs.grad, layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(*found)


def test_a_batch_of_one_gives_the_bias():
    layer = BatchNormalization(2)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([4.0, 5.0]))
    outputs = layer(torch.tensor([[7.0, -7.0]]))
    torch.testing.assert_close(outputs, torch.tensor([[4.0, 5.0]]), atol=1e-5, rtol=0)
    outputs.sum().backward()
    assert layer.bias.grad.tolist() == [1.0, 1.0]


def test_a_batch_without_examples_leaves_the_moving_averages():
    layer = BatchNormalization(3)
    layer(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    found = layer(torch.zeros(0, 3))
    assert found.shape == (0, 3)
    found.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
