"""Gradients given by hand."""

import torch


def coo(ids, values, rows):
    """[rows, ...] a sparse gradient as torch.nn.Embedding makes it, repetitions included."""
    return torch.sparse_coo_tensor(ids[None], values, (rows, *values.shape[1:]), check_invariants=True)


def train(optimizer, weight, gradients):
    """One step per gradient; leaves none behind."""
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    weight.grad = None


def recorded_steps(make):
    """[3, 3] the weights after each of three steps with the gradient w + [.5, -.1, 0], as recorded of TensorFlow."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.0]))
    optimizer = make([weight])
    rows = []
    for _ in range(3):
        train(optimizer, weight, [weight.detach() + torch.tensor([0.5, -0.1, 0.0])])
        rows.append(weight.detach().clone())
    return torch.stack(rows)
