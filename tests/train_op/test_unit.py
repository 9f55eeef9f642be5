"""One optimizer and what belongs to it."""

import pytest
import torch
from torch import nn

import torchestimator as te
from tests.train_op.loops import BACKWARD, Net, batches, loss_of
from torchestimator.train_op.unit import MinimizeUnit

DATA = batches([8] * 6)


def make(net, optimizer_fn, **arguments):
    return MinimizeUnit(te.minimize(loss_of(net, DATA[0]), optimizer_fn, **arguments), net, None)


def step(unit, net, batch, **arguments):
    unit.backward(te.minimize(loss_of(net, batch), torch.optim.SGD, **arguments), len(batch[0]), False, BACKWARD)
    unit.update(None)
    unit.schedule.step()


def test_parameters_that_the_optimizer_leaves_out_are_left_alone():
    net = Net()
    unit = make(net, lambda parameters: torch.optim.SGD(parameters[:1], lr=0.1))
    before = net.head.weight.clone()
    for batch in DATA:
        step(unit, net, batch)
    assert list(unit.named) == ["body.weight"]
    assert torch.equal(net.head.weight, before)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_clipping_counts_the_optimizers_own_gradients_alone():
    net = Net()
    unit = make(net, lambda parameters: torch.optim.SGD(parameters[:1], lr=1.0))
    before = net.body.weight.detach().clone()
    unit.backward(te.minimize(1000 * loss_of(net, DATA[0]), torch.optim.SGD), 8, False, BACKWARD)
    unit.update(0.25)
    assert (net.body.weight - before).norm().item() == pytest.approx(0.25, rel=1e-4)


def test_the_function_gets_a_list_of_its_own():
    def greedy(parameters):
        optimizer = torch.optim.SGD(list(parameters), lr=0.1)
        parameters.clear()
        return optimizer

    assert len(make(Net(), greedy).parameters) == 4


class Counting(torch.optim.SGD):
    """Keeps plain numbers, and None, beside its tensors."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                state.setdefault("flag", True)
                state.setdefault("nothing", None)
                state.setdefault("limit", float("inf"))
        return super().step(closure)


def test_numbers_in_the_state_are_saved_beside_the_tensors():
    net = Net()
    unit = make(net, lambda parameters: Counting(parameters, lr=0.1, momentum=0.9))
    for batch in DATA[:3]:
        step(unit, net, batch)
    assert set(unit.slots()) == {f"{name}/momentum_buffer" for name in unit.named}
    document = unit.state_dict()
    assert document["numbers"]["head.bias/count"] == 3
    other = make(net, lambda parameters: Counting(parameters, lr=0.1, momentum=0.9))
    other.load(unit.slots(), document)
    state = other.optimizer.state[net.head.bias]
    assert state.keys() == {"momentum_buffer", "count", "flag", "nothing", "limit"}
    assert (state["count"], state["flag"], state["nothing"], state["limit"]) == (3, True, None, float("inf"))
    assert other.state_dict() == document


class Remembering(torch.optim.SGD):
    def step(self, closure=None):
        self.state[self.param_groups[0]["params"][0]]["history"] = [1, 2]
        return super().step(closure)


def test_other_state_is_refused_when_saving():
    net = Net()
    unit = make(net, lambda parameters: Remembering(parameters, lr=0.1))
    step(unit, net, DATA[0])
    with pytest.raises(TypeError, match=r"Remembering keeps a list as its state 'history' of body.weight"):
        unit.slots()


def test_gradients_held_back_do_not_mix():
    net = Net()
    unit = make(net, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    loss_of(net, DATA[0]).backward()
    gradient = net.head.bias.grad
    unit.hold_gradients()
    assert net.head.bias.grad is None
    loss_of(net, DATA[1]).backward()
    unit.release_gradients()
    assert net.head.bias.grad is gradient
    unit.release_gradients()
    assert net.head.bias.grad is gradient


def test_parameters_without_a_gradient_stay():
    net = Net()
    unit = make(net, lambda parameters: torch.optim.Adam(parameters, lr=0.1), accumulate_steps=2, clip_norm=1.0)
    before = net.head.weight.clone()
    unit.backward(te.minimize(net.body(DATA[0][0]).sum(), torch.optim.SGD), 8, False, BACKWARD)
    unit.update(1.0)
    assert torch.equal(net.head.weight, before)
    assert set(unit.slots()) == {
        f"body.{name}/{slot}" for name in ("weight", "bias") for slot in ("step", "exp_avg", "exp_avg_sq")
    }


@pytest.mark.parametrize(
    ("optimizer_fn", "error", "message"),
    [
        (lambda parameters: None, TypeError, "`optimizer_fn` must return a torch.optim.Optimizer. Received: None"),
        (torch.optim.LBFGS, TypeError, "Received: LBFGS"),
        (
            lambda parameters: torch.optim.SGD(nn.Linear(2, 5).parameters(), lr=1),
            ValueError,
            r"shape \[5, 2\] that is not",
        ),
        (
            lambda parameters: torch.optim.SGD([*parameters, nn.Parameter(torch.ones(7))], lr=1),
            ValueError,
            r"shape \[7\]",
        ),
    ],
)
def test_wrong_optimizers_are_refused(optimizer_fn, error, message):
    with pytest.raises(error, match=message):
        make(Net(), optimizer_fn)
