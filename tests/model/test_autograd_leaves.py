"""What a loss depends on."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import torchestimator as te
from torchestimator.model.autograd_leaves import check_leaves, without_graph


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def spec(*losses, **others):
    ops = [te.minimize(loss, sgd, clip_norm=2.0) for loss in losses]
    return te.EstimatorSpec("train", loss=losses[0], train_op=ops[0] if len(ops) == 1 else te.group(*ops), **others)


def test_own_parameters_are_fine():
    model = Model()
    x = torch.ones(4, 3)
    check_leaves(spec(model.net(x).sum()), model)
    check_leaves(spec(checkpoint(model.net, x, use_reentrant=False).sum(), model.net.weight.sum()), model)
    check_leaves(spec((model.net(x.requires_grad_()) * x.mean()).sum()), model)


def test_a_parameter_itself_is_a_loss():
    model = Model()
    model.scale = nn.Parameter(torch.ones(()))
    check_leaves(spec(model.scale), model)


def test_foreign_parameters_are_found_in_every_loss():
    model, other = Model(), nn.Linear(3, 2)
    fine, mixed = model.net(torch.ones(4, 3)).sum(), (model.net(torch.ones(4, 3)) + other(torch.ones(4, 3))).sum()
    with pytest.raises(RuntimeError, match=r"2 parameter\(s\).*te.get_module"):
        check_leaves(spec(fine, mixed), model)
    other.requires_grad_(False)
    mixed = (model.net(torch.ones(4, 3)) + other(torch.ones(4, 3))).sum()
    check_leaves(spec(fine, mixed), model)


def test_a_loss_without_parameters_is_found_in_every_loss():
    model = Model()
    with pytest.raises(ValueError, match="does not depend on any trainable parameter"):
        check_leaves(spec(model.net(torch.ones(4, 3)).sum(), torch.ones(())), model)


def test_functions_as_train_op_are_not_looked_into():
    check_leaves(te.EstimatorSpec("train", loss=torch.ones(()), train_op=lambda: None), Model())


def test_without_graph_keeps_descriptions_and_hooks():
    model = Model()
    loss = model.net(torch.ones(4, 3)).sum()
    hook = te.StopAtStepHook(last_step=1)
    whole = spec(loss, loss * 2, predictions={"x": loss}, training_hooks=[hook])
    light = without_graph(whole)
    assert light.loss.item() == loss.item()
    assert light.training_hooks == (hook,)
    assert light.predictions == {}
    assert [op.loss.grad_fn for op in light.train_op.train_ops] == [None, None]
    assert [op.optimizer_fn for op in light.train_op.train_ops] == [sgd, sgd]
    assert [op.clip_norm for op in light.train_op.train_ops] == [2.0, 2.0]
    assert whole.loss.grad_fn is not None
