"""Arguments of te.minimize and te.group."""

import numpy as np
import pytest
import torch

import torchestimator as te
from torchestimator.train_op.description import Group, Minimize

LOSS = torch.ones((), requires_grad=True)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def test_a_description_holds_what_it_was_given():
    scheduler_fn = torch.optim.lr_scheduler.ExponentialLR
    made = te.minimize(LOSS, sgd, scheduler_fn, 2.0, "net", 3, loss_weight=4)
    assert made == Minimize(LOSS, sgd, scheduler_fn, 2.0, "net", 3, 4)
    assert te.minimize(LOSS, sgd) == Minimize(LOSS, sgd, None, None, None, 1, None)


@pytest.mark.parametrize(
    "arguments",
    [
        {"clip_norm": torch.tensor(1.0)},
        {"clip_norm": np.float32(1.0)},
        {"clip_norm": float("inf")},
        {"clip_norm": 1},
        {"loss_weight": 0},
        {"loss_weight": torch.tensor([3])},
        {"loss_weight": np.int64(3)},
        {"accumulate_steps": 5},
    ],
)
def test_numbers_of_all_kinds_are_fine(arguments):
    made = te.minimize(LOSS, sgd, **arguments)
    assert {name: getattr(made, name) for name in arguments} == arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": 1.0}, TypeError, "`loss` must be a tensor.*Received: float"),
        ({"loss": torch.ones(3)}, ValueError, r"`loss` must be a scalar.*loss.mean\(\).*Received: shape \[3\]"),
        ({"loss": torch.ones(0)}, ValueError, r"Received: shape \[0\]"),
        (
            {"optimizer_fn": sgd([LOSS])},
            TypeError,
            r"an instance of SGD. Write: te.minimize\(loss, lambda params: torch",
        ),
        ({"optimizer_fn": "adam"}, TypeError, "`optimizer_fn` must be a function.*Received: 'adam'"),
        ({"scheduler_fn": 3}, TypeError, "`scheduler_fn` must be a function.*Received: 3"),
        ({"clip_norm": 0.0}, ValueError, "`clip_norm` must be positive.*Received: 0.0"),
        ({"clip_norm": float("nan")}, ValueError, "Received: nan"),
        ({"clip_norm": "1"}, TypeError, "`clip_norm` must be a number.*Received: '1'"),
        ({"accumulate_steps": 0}, ValueError, "`accumulate_steps` must be a positive.*Received: 0"),
        ({"accumulate_steps": 2.5}, TypeError, "`accumulate_steps` must be an integer.*Received: 2.5"),
        ({"accumulate_steps": None}, TypeError, "Received: None"),
        ({"loss_weight": -1}, ValueError, "`loss_weight` must be a count.*Received: -1"),
        ({"loss_weight": float("nan")}, ValueError, "Received: nan"),
        ({"loss_weight": "many"}, TypeError, "`loss_weight` must be a number.*Received: 'many'"),
        ({"loss_weight": torch.ones(2)}, ValueError, r"Received: shape \[2\]"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        te.minimize(**{"loss": LOSS, "optimizer_fn": sgd, **arguments})


def test_a_loss_of_one_element_is_a_scalar():
    assert te.minimize(LOSS.reshape(1), sgd).loss.shape == (1,)


def test_groups_are_flat_and_in_order():
    one, two, three = (te.minimize(LOSS * k, sgd) for k in (1, 2, 3))
    made = te.group(one, te.group(two, te.group(three)))
    assert isinstance(made, Group)
    assert [id(op) for op in made.train_ops] == [id(one), id(two), id(three)]


def test_groups_refuse_other_things():
    with pytest.raises(ValueError, match="at least one"):
        te.group()
    with pytest.raises(TypeError, match=r"results of `te.minimize` or `te.group`. Received: \[\]"):
        te.group([])
