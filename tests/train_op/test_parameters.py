"""What `var_list` selects."""

import pytest
import torch
from torch import nn

from tests.train_op.loops import Net
from torchestimator.train_op.parameters import select_parameters

ALL = ["body.weight", "body.bias", "head.weight", "head.bias"]


@pytest.fixture
def net():
    return Net()


@pytest.mark.parametrize(
    ("var_list", "names"),
    [
        (lambda net: None, ALL),
        (lambda net: net, ALL),
        (lambda net: net.head, ALL[2:]),
        (lambda net: net.head.parameters(), ALL[2:]),
        (lambda net: [net.head.bias, net.body.weight], ["body.weight", "head.bias"]),
        (lambda net: (net.head, net.body.bias), ["body.bias", "head.weight", "head.bias"]),
        (lambda net: net.body.bias, ["body.bias"]),
        (lambda net: {net.body.bias, net.head.bias}, ["body.bias", "head.bias"]),
        (lambda net: "body", ALL[:2]),
        (lambda net: r".*\.bias$", ["body.bias", "head.bias"]),
        (lambda net: ["head", ".*bias"], ["body.bias", "head.weight", "head.bias"]),
    ],
)
def test_selections_are_in_the_order_of_the_model(net, var_list, names):
    selected = select_parameters(net, var_list(net))
    assert list(selected) == names
    assert all(selected[name] is net.get_parameter(name) for name in names)


@pytest.mark.parametrize(
    "var_list", [lambda net: None, lambda net: net, lambda net: ".*", lambda net: net.parameters()]
)
def test_fixed_parameters_are_left_out(net, var_list):
    net.body.requires_grad_(False)
    assert list(select_parameters(net, var_list(net))) == ALL[2:]


def test_shared_parameters_are_selected_once(net):
    net.head.bias = nn.Parameter(torch.zeros(3))
    net.tied = net.head
    assert list(select_parameters(net, net.tied)) == ALL[2:]
    assert list(select_parameters(net, None)) == ALL


@pytest.mark.parametrize(
    ("var_list", "error", "message"),
    [
        (lambda net: "tail", ValueError, "matches no trainable parameter. Received: 'tail'. Names"),
        (lambda net: ["head", "weight"], ValueError, "Received: 'weight'"),
        (lambda net: "(", ValueError, "no regular expression"),
        (lambda net: [], ValueError, "holds no trainable parameter"),
        (lambda net: nn.ReLU(), ValueError, "holds no trainable parameter"),
        (lambda net: nn.Linear(1, 1), ValueError, r"shape \[1, 1\] that is not part of the model"),
        (lambda net: [net.head.bias, torch.ones(1)], TypeError, "Received: tensor"),
        (lambda net: torch.ones(1), TypeError, "Received: tensor"),
        (lambda net: [net.head.bias, "body"], TypeError, "Received: 'body'"),
    ],
)
def test_wrong_selections_are_refused(net, var_list, error, message):
    with pytest.raises(error, match=message):
        select_parameters(net, var_list(net))


def test_a_model_without_parameters_is_refused(net):
    with pytest.raises(ValueError, match=r"no trainable parameter.*te\.get_module"):
        select_parameters(net.requires_grad_(False), None)
