"""What all five optimizers share: TensorFlow's numbers, sparse gradients, groups, state, captured steps."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchestimator as te
from tests.capture import steps
from tests.optim import tensorflow_traces
from tests.optim.gradients import coo, train
from tests.train_op.loops import Loop, batches, loss_of
from torchestimator import optim

TRACES = json.loads(tensorflow_traces.RECORDED.read_text())
OPTIMIZERS = {
    "ftrl": lambda params: optim.Ftrl(params, 0.1, l1_regularization_strength=0.01),
    "ftrl power": lambda params: optim.Ftrl(
        params, 0.1, -0.6, l2_regularization_strength=0.1, l2_shrinkage_regularization_strength=0.1, beta=0.5
    ),
    "adagrad": lambda params: optim.Adagrad(params, 0.1, clipnorm=0.5),
    "adam": lambda params: optim.Adam(params, 0.01),
    "amsgrad": lambda params: optim.Adam(params, 0.01, amsgrad=True),
    "rmsprop": lambda params: optim.RMSProp(params, 0.01, centered=True),
    "rmsprop momentum": lambda params: optim.RMSProp(params, 0.01, momentum=0.5),
    "sgd": lambda params: optim.SGD(params, 0.1),
    "nesterov": lambda params: optim.SGD(params, 0.05, momentum=0.9, nesterov=True),
}


def step_lr(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.8)


@pytest.mark.parametrize("trace", TRACES)
def test_twenty_steps_are_those_of_tensorflow(trace):
    case, _, form = trace.partition("/")
    kind, options = tensorflow_traces.CASES[case]
    weight = nn.Parameter(torch.from_numpy(tensorflow_traces.initial_weights()))
    optimizer = getattr(optim, kind)([weight], tensorflow_traces.LEARNING_RATE, **options)
    for ids, values in tensorflow_traces.gradients():
        if form == "sparse":
            weight.grad = coo(torch.from_numpy(ids), torch.from_numpy(values), len(weight))
        else:
            weight.grad = torch.from_numpy(tensorflow_traces.dense(ids, values))
        optimizer.step()
    found = {"weights": weight.detach()} | dict(optimizer.state[weight])
    found.pop("step", None)
    assert found.keys() == TRACES[trace].keys()
    for name, expected in TRACES[trace].items():
        # TensorFlow's own beta_2 is a float32, and 1 - beta_2 has its error.
        np.testing.assert_allclose(found[name].numpy().ravel(), expected, rtol=3e-5, atol=2e-6, err_msg=name)


ids_and_values = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2)), min_size=1, max_size=8
)


@pytest.mark.parametrize("kind", [optim.Ftrl, optim.Adagrad, optim.SGD])
@settings(deadline=None, max_examples=25)
@given(history=st.lists(ids_and_values, min_size=1, max_size=4))
def test_a_sparse_step_is_a_dense_one_on_the_rows_that_it_touches(kind, history):
    weight = nn.Parameter(torch.linspace(-1, 1, 12).view(6, 2))
    optimizer = kind([weight], 0.1)
    for pairs in history:
        ids = torch.tensor([row for row, _ in pairs])
        dense, dense_optimizer = copy.deepcopy((weight, optimizer))
        before = weight.detach().clone()
        weight.grad = coo(ids, torch.tensor([values for _, values in pairs]), 6)
        dense.grad = weight.grad.to_dense()
        optimizer.step()
        dense_optimizer.step()
        touched = torch.zeros(6, dtype=torch.bool).index_fill_(0, ids, True)
        torch.testing.assert_close(weight[touched], dense[touched])
        assert torch.equal(weight[~touched], before[~touched])
        for name, slot in optimizer.state[weight].items():
            torch.testing.assert_close(slot, dense_optimizer.state[dense][name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dense_and_sparse_gradients_mix_within_a_group(name):
    table, scale = nn.Parameter(torch.ones(5, 2)), nn.Parameter(torch.ones(2))
    alone = [nn.Parameter(each.detach().clone()) for each in (table, scale)]
    for together, parameters in ((True, [table, scale]), (False, alone)):
        optimizers = [OPTIMIZERS[name](parameters)] if together else [OPTIMIZERS[name]([each]) for each in parameters]
        for step in range(4):
            parameters[0].grad = coo(torch.tensor([1, 3, 1]), torch.full((3, 2), 0.1 + step), 5)
            parameters[1].grad = torch.tensor([0.3, -0.2])
            for optimizer in optimizers:
                optimizer.step()
    torch.testing.assert_close(table, alone[0])
    torch.testing.assert_close(scale, alone[1])


def test_the_captured_step_computes_what_the_eager_one_does():
    def model_fn(features, labels, mode):
        train_ops, total = [], 0.0
        for name in ("ftrl power", "adagrad", "amsgrad", "rmsprop", "nesterov"):
            net = te.get_module(name.replace(" ", "_"), lambda: nn.Linear(4, 3))
            loss = F.cross_entropy(net(features["x"]), labels)
            train_ops.append(te.minimize(loss, OPTIMIZERS[name], step_lr, var_list=net))
            total = total + loss
        return te.EstimatorSpec(mode, loss=total, train_op=te.group(*train_ops))

    steps.compare(model_fn, steps.batches())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_resumes_exactly(name):
    def describe(net, batch):
        return te.minimize(loss_of(net, batch), OPTIMIZERS[name], step_lr)

    data = batches([6] * 12)
    loop = Loop(describe, data).run(data[:7])
    saved = loop.save()
    resumed = Loop(describe, data).load(saved).run(data[7:])
    loop.run(data[7:])
    for expected, found in zip(loop.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_copied_optimizer_goes_on_with_the_same_numbers(name):
    gradients = [torch.full((3, 2), 0.1 * step) for step in range(1, 6)]
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = OPTIMIZERS[name]([weight])
    train(optimizer, weight, gradients)
    other = nn.Parameter(weight.detach().clone())
    fresh = OPTIMIZERS[name]([other])
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(optimizer, weight, gradients)
    train(fresh, other, gradients)
    assert torch.equal(weight, other)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_of_double_precision(name):
    weights = [nn.Parameter(torch.ones(3, 2, dtype=dtype)) for dtype in (torch.float32, torch.float64)]
    for weight in weights:
        optimizer = OPTIMIZERS[name]([weight])
        train(optimizer, weight, [torch.full_like(weight, 0.3)] * 5)
    assert all(slot.dtype == torch.float64 for slot in optimizer.state[weights[1]].values() if slot.dim())
    torch.testing.assert_close(weights[0].double(), weights[1], rtol=1e-5, atol=1e-6)


def test_groups_have_options_of_their_own():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [first], "learning_rate": 0.5}, {"params": [second], "momentum": 0.9}]
    optimizer = optim.SGD(groups, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
    for _ in range(2):
        first.grad = second.grad = torch.ones(2)
        optimizer.step()
    torch.testing.assert_close(first, torch.zeros(2))
    torch.testing.assert_close(second, torch.full((2,), 1 - 0.1 - 0.19))


def test_a_rate_may_be_a_tensor():
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    for weight, rate in zip(weights, (0.1, torch.tensor(0.1)), strict=True):
        train(optim.Ftrl([weight], rate, beta=0.1), weight, [torch.tensor([0.3, -0.2])] * 3)
    torch.testing.assert_close(*weights)


def test_parameters_without_a_gradient_have_no_slots():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optim.Adagrad([used, unused])
    train(optimizer, used, [torch.ones(2)])
    assert unused not in optimizer.state
    assert torch.equal(unused, torch.ones(2))


def test_the_closure_is_called_with_gradients():
    weight = nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([weight], 0.5)

    def closure():
        loss = weight.square().sum() / 2
        loss.backward()
        return loss

    assert optimizer.step(closure).detach() == 1
    torch.testing.assert_close(weight, torch.full((2,), 0.5))


def test_a_gradient_without_entries_changes_nothing():
    weight = nn.Parameter(torch.ones(3, 2))
    train(optim.Ftrl([weight], 0.1), weight, [coo(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), 3)])
    assert torch.equal(weight, torch.ones(3, 2))


def test_a_slot_asked_for_later_starts_from_its_constant():
    weight = nn.Parameter(torch.ones(2))
    plain = optim.RMSProp([weight])
    train(plain, weight, [torch.ones(2)])
    optimizer = optim.RMSProp([weight], centered=True)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({**plain.state_dict(), "param_groups": groups})
    assert torch.equal(optimizer.state[weight]["mg"], torch.zeros(2))
    assert torch.equal(optimizer.state[weight]["rms"], plain.state[weight]["rms"])


def test_the_state_of_another_optimizer_is_refused():
    weight = nn.Parameter(torch.ones(2))
    other = torch.optim.Adam([weight])
    train(other, weight, [torch.ones(2)])
    with pytest.raises(ValueError, match=r"te\.optim\.Adam can't go on .* \['m', 'v'\]"):
        optim.Adam([weight]).load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.Ftrl(0.1), TypeError, r"lambda params: te\.optim\.Ftrl\(params, learning_rate=0\.1\)"),
        (lambda p: optim.SGD(p, "0.1"), TypeError, r"`learning_rate` must be a number. Received: '0\.1'"),
        (lambda p: optim.SGD(p, -0.1), ValueError, "`learning_rate` must be 0 or more"),
        (lambda p: optim.SGD(p, float("nan")), ValueError, "`learning_rate` must be 0 or more"),
        (lambda p: optim.SGD(p, clipnorm=0), ValueError, "`clipnorm` must be positive"),
        (lambda p: optim.SGD(p, clipnorm=True), TypeError, "`clipnorm` must be a number"),
        (lambda p: optim.SGD([{"params": p}, *p]), TypeError, "must be a dict .* Received: Parameter"),
        (lambda p: optim.SGD([{"params": p, "rho": 0.9}]), TypeError, r"options \['learning_rate'.*\['rho'\]"),
    ],
)
def test_bad_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make([nn.Parameter(torch.ones(2))])
