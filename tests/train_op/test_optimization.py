"""Whole trainings against plain PyTorch loops, and their checkpoints."""

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchestimator as te
from tests.train_op.loops import BACKWARD, Loop, Net, assert_close, assert_same, batches, loss_of, plain_loop
from tests.train_op.settings import OPTIMIZERS, SCHEDULES
from torchestimator.train_op.optimization import Optimization

DATA = batches([8] * 20)


def describing(optimizer_fn, **arguments):
    """A description function with one `minimize` over everything."""
    return lambda net, batch: te.minimize(loss_of(net, batch), optimizer_fn, **arguments)


@pytest.mark.parametrize("clip_norm", [None, 0.3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_do_what_a_plain_loop_does(name, clip_norm):
    loop = Loop(describing(OPTIMIZERS[name], clip_norm=clip_norm), DATA).run(DATA)
    assert_same(loop.net, plain_loop(DATA, OPTIMIZERS[name], clip_norm=clip_norm))
    assert all(parameter.grad is None for parameter in loop.net.parameters())


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw groups"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_do_what_a_plain_loop_does(name, optimizer):
    loop = Loop(describing(OPTIMIZERS[optimizer], scheduler_fn=SCHEDULES[name]), DATA).run(DATA)
    assert_same(loop.net, plain_loop(DATA, OPTIMIZERS[optimizer], SCHEDULES[name]))


def test_clip_norm_may_be_a_tensor_and_may_change():
    norms = itertools.cycle([0.1, torch.tensor(0.2)])
    clipped = iter([0.1, 0.2] * 10)
    loop = Loop(lambda net, batch: te.minimize(loss_of(net, batch), OPTIMIZERS["sgd"], clip_norm=next(norms)), DATA)
    next(norms)  # the description that the loop was made from took one
    loop.run(DATA)
    net = Net()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    for batch, norm in zip(DATA, clipped, strict=True):
        loss_of(net, batch).backward()
        nn.utils.clip_grad_norm_(net.parameters(), norm)
        optimizer.step()
        optimizer.zero_grad()
    assert_close(loop.net, net)


# Groups


def gan(d_vars, g_vars):
    """Two players: the head is to lower one loss, the body another."""

    def describe(net, batch):
        outputs = net(batch[0])
        d_loss, g_loss = F.cross_entropy(outputs, batch[1]), -outputs.logsumexp(-1).mean()
        return te.group(
            te.minimize(d_loss, OPTIMIZERS["adam"], SCHEDULES["step"], var_list=d_vars(net)),
            te.minimize(g_loss, OPTIMIZERS["momentum"], clip_norm=0.5, var_list=g_vars(net)),
        )

    return describe


def plain_gan(data, d_names, g_names):
    """All gradients from one forward pass, then both updates."""
    net = Net()
    named = dict(net.named_parameters())
    d_parameters, g_parameters = (
        [named[name] for name in named if name.startswith(names)] for names in (d_names, g_names)
    )
    d_optimizer, g_optimizer = OPTIMIZERS["adam"](d_parameters), OPTIMIZERS["momentum"](g_parameters)
    scheduler = SCHEDULES["step"](d_optimizer)
    for batch in data:
        outputs = net(batch[0])
        d_gradients = torch.autograd.grad(F.cross_entropy(outputs, batch[1]), d_parameters, retain_graph=True)
        g_gradients = torch.autograd.grad(-outputs.logsumexp(-1).mean(), g_parameters)
        for parameter, gradient in zip(d_parameters, d_gradients, strict=True):
            parameter.grad = gradient
        d_optimizer.step()
        scheduler.step()
        d_optimizer.zero_grad()
        for parameter, gradient in zip(g_parameters, g_gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(g_parameters, 0.5)
        g_optimizer.step()
        g_optimizer.zero_grad()
    return net


GANS = {
    "disjoint": (lambda net: net.head, lambda net: net.body, ("head",), ("body",)),
    "expressions": (lambda net: r"head\.", lambda net: ["body.w", "body.b"], ("head",), ("body",)),
    "parameters": (lambda net: net.head.parameters(), lambda net: [net.body.weight], ("head",), ("body.weight",)),
    "overlapping": (lambda net: net, lambda net: [net.body, net.head.bias], ("head", "body"), ("body", "head.bias")),
    "everything": (lambda net: net.head, lambda net: None, ("head",), ("body", "head")),
    "everything first": (lambda net: None, lambda net: net.body, ("body", "head"), ("body",)),
}


@pytest.mark.parametrize("name", GANS)
def test_groups_take_all_gradients_before_any_update(name):
    d_vars, g_vars, d_names, g_names = GANS[name]
    loop = Loop(gan(d_vars, g_vars), DATA).run(DATA)
    assert_close(loop.net, plain_gan(DATA, d_names, g_names))
    assert len(loop.optimization.optimizers) == 2
    assert all(parameter.grad is None for parameter in loop.net.parameters())


@pytest.mark.parametrize("parts", [("head", "body"), ("head",)], ids=["all parameters", "some of them"])
def test_one_loss_for_parts_of_their_own_is_differentiated_once(parts):
    passes = []

    def describe(net, batch):
        loss = loss_of(net, batch)
        pairs = zip(parts, ("adam", "momentum"), strict=False)
        return te.group(*(te.minimize(loss, OPTIMIZERS[name], var_list=getattr(net, part)) for part, name in pairs))

    loop = Loop(describe, DATA)
    backward = loop.optimization._backward
    loop.optimization._backward = lambda *arguments: (passes.append(1), backward(*arguments))
    loop.run(DATA[:7])
    saved = loop.save()
    loop.run(DATA[7:])
    assert len(passes) == len(DATA)
    net = Net()
    optimizers = [
        OPTIMIZERS[name](getattr(net, part).parameters())
        for part, name in zip(parts, ("adam", "momentum"), strict=False)
    ]
    for batch in DATA:
        loss_of(net, batch).backward()
        for optimizer in optimizers:
            optimizer.step()
        net.zero_grad()
    assert_same(loop.net, net)
    assert_same(Loop(describe, DATA).load(saved).run(DATA[7:]).net, net)


@pytest.mark.parametrize("name", GANS)
def test_groups_resume_exactly(name):
    d_vars, g_vars, _, _ = GANS[name]
    whole = Loop(gan(d_vars, g_vars), DATA).run(DATA)
    saved = Loop(gan(d_vars, g_vars), DATA).run(DATA[:7]).save()
    assert_same(Loop(gan(d_vars, g_vars), DATA).load(saved).run(DATA[7:]).net, whole.net)


def test_slots_of_two_optimizers_on_one_parameter():
    d_vars, g_vars, _, _ = GANS["overlapping"]
    slots = Loop(gan(d_vars, g_vars), DATA).run(DATA[:1]).save()[1]
    assert {name.rpartition("/")[2] for name in slots if name.startswith("body.weight/")} == {
        "step", "exp_avg", "exp_avg_sq", "momentum_buffer@1",
    }  # fmt: skip
    assert not any("@" in name for name in slots if name.startswith("head.weight/"))


def test_names_may_hold_an_at_sign_and_slashes():
    net = nn.ModuleDict({"tower/a@1": nn.Linear(4, 3), "tower": nn.Linear(4, 3)})

    def describe(batch):
        loss = F.cross_entropy(net["tower/a@1"](batch[0]) + net["tower"](batch[0]), batch[1])
        return te.minimize(loss, OPTIMIZERS["adam"])

    optimization = Optimization(describe(DATA[0]), net, BACKWARD)
    optimization.differentiate(describe(DATA[0]), 8)
    optimization.apply(describe(DATA[0]))
    other = Optimization(describe(DATA[0]), net, BACKWARD)
    slots = optimization.slots()
    other.load(slots, optimization.state_dict())
    assert other.slots().keys() == slots.keys()
    assert len(slots) == 12
    assert all(torch.equal(value, slots[name]) for name, value in other.slots().items())


def test_nested_groups_are_flat():
    def describe(net, batch):
        loss = loss_of(net, batch)
        inner = te.group(te.minimize(loss, OPTIMIZERS["sgd"], var_list=net.head))
        return te.group(inner, te.minimize(loss * 2, OPTIMIZERS["sgd"], var_list=net.body))

    loop = Loop(describe, DATA).run(DATA[:1])
    expected = Net()
    loss_of(expected, DATA[0]).backward()
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            parameter.sub_(0.1 * (2 if name.startswith("body") else 1) * parameter.grad)
    assert_close(loop.net, expected)


def test_the_structure_must_stay():
    loop = Loop(describing(OPTIMIZERS["sgd"]), DATA)
    single = loop.describe(loop.net, DATA[0])
    with pytest.raises(ValueError, match=r"had 1 te\.minimize at the first step and has 2 now"):
        loop.optimization.differentiate(te.group(single, single), 8)
    with pytest.raises(ValueError, match="has 0 now"):
        loop.optimization.differentiate(lambda: None, 8)


def test_a_function_as_train_op_is_called_once_per_step():
    calls = []
    net = Net()
    optimization = Optimization(lambda: None, net, BACKWARD)
    for step in range(3):
        train_op = lambda step=step: calls.append(step)  # noqa: E731
        optimization.differentiate(train_op, 8)
        optimization.apply(train_op)
    assert not optimization.finish(train_op)
    assert calls == [0, 1, 2]
    assert optimization.slots() == {}
    optimization.load({}, optimization.state_dict())
    assert optimization.optimizers == []


# Accumulation


def one_window(window):
    """The batches of a window as one, for a loop without accumulation."""
    return torch.cat([x for x, _ in window]), torch.cat([y for _, y in window])


def windows_of(data, size):
    return [one_window(data[i : i + size]) for i in range(0, len(data), size)]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5), st.sampled_from(["momentum", "adam"]),
    st.sampled_from([None, 0.3]),
)  # fmt: skip
def test_accumulated_batches_give_the_gradient_of_all_their_examples(sizes, steps, optimizer, clip_norm):
    data = batches(sizes)
    describe = describing(OPTIMIZERS[optimizer], clip_norm=clip_norm, accumulate_steps=steps)
    loop = Loop(describe, data).run(data, finish=True)
    assert_close(loop.net, plain_loop(windows_of(data, steps), OPTIMIZERS[optimizer], clip_norm=clip_norm), 1e-5)


def token_data():
    """Batches with a mask of the positions that count; one has none at all."""
    masks = [torch.arange(8) < count for count in (0, 8, 1, 0, 0, 0, 5, 2, 8, 3)]
    return [(x, y, mask) for (x, y), mask in zip(batches([8] * len(masks)), masks, strict=True)]


def masked_loss(net, batch):
    x, y, mask = batch
    losses = F.cross_entropy(net(x), y, reduction="none")
    return (losses * mask).sum() / mask.sum().clamp(min=1)


@pytest.mark.parametrize("as_number", [False, True])
def test_a_loss_weight_makes_means_over_tokens_right(as_number):
    def describe(net, batch):
        weight = batch[2].sum()
        return te.minimize(
            masked_loss(net, batch), OPTIMIZERS["momentum"], accumulate_steps=3,
            loss_weight=int(weight) if as_number else weight,
        )  # fmt: skip

    data = token_data()
    loop = Loop(describe, data).run(data, finish=True)
    wholes = [tuple(map(torch.cat, zip(*data[i : i + 3], strict=True))) for i in range(0, len(data), 3)]
    assert_close(loop.net, plain_loop(wholes, OPTIMIZERS["momentum"], loss=masked_loss), 1e-5)


def test_a_schedule_counts_updates_not_batches():
    describe = describing(OPTIMIZERS["sgd"], scheduler_fn=SCHEDULES["step"], accumulate_steps=2)
    loop = Loop(describe, DATA).run(DATA[:12])
    assert loop.optimization.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**2)


def test_units_of_a_group_have_windows_of_their_own():
    def describe(net, batch):
        loss = loss_of(net, batch)
        return te.group(
            te.minimize(loss, OPTIMIZERS["sgd"], var_list=net.head, accumulate_steps=1),
            te.minimize(loss, OPTIMIZERS["momentum"], var_list=net.body, accumulate_steps=3),
        )

    data = batches([4, 8, 2, 5, 5, 9, 1, 3])
    loop = Loop(describe, data).run(data, finish=True)
    net = Net()
    head, body = OPTIMIZERS["sgd"](net.head.parameters()), OPTIMIZERS["momentum"](net.body.parameters())
    sums, examples = [torch.zeros_like(parameter) for parameter in net.body.parameters()], 0
    for count, batch in enumerate(data, start=1):
        net.zero_grad()
        loss_of(net, batch).backward()
        head.step()
        examples += len(batch[0])
        for total, parameter in zip(sums, net.body.parameters(), strict=True):
            total.add_(len(batch[0]) * parameter.grad)
        if count % 3 == 0 or count == len(data):
            for total, parameter in zip(sums, net.body.parameters(), strict=True):
                parameter.grad = total / examples
                total.zero_()
            body.step()
            examples = 0
    assert_close(loop.net, net)


# Checkpoints


@pytest.mark.parametrize("stop", [0, 3, 11])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes_exactly(name, stop):
    describe = describing(OPTIMIZERS[name], clip_norm=0.5, accumulate_steps=2)
    whole = Loop(describe, DATA).run(DATA, finish=True)
    saved = Loop(describe, DATA).run(DATA[:stop]).save()
    resumed = Loop(describe, DATA).load(saved).run(DATA[stop:], finish=True)
    assert_same(resumed.net, whole.net)


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw groups", "adam tensor"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_resumes_exactly(name, optimizer):
    describe = describing(OPTIMIZERS[optimizer], scheduler_fn=SCHEDULES[name])
    whole = Loop(describe, DATA).run(DATA)
    group = whole.optimization.optimizers[0].param_groups[0]
    if group["lr"] is group["initial_lr"]:
        pytest.skip("this torch makes one tensor of lr and initial_lr, and so changes both")
    for stop in (0, 4, 5, 9):
        saved = Loop(describe, DATA).run(DATA[:stop]).save()
        json.loads(saved[2], parse_constant=pytest.fail)
        assert_same(Loop(describe, DATA).load(saved).run(DATA[stop:]).net, whole.net)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=8, max_size=8), st.integers(0, 7), st.integers(1, 5))
def test_partly_filled_windows_resume_exactly(sizes, stop, steps):
    data = batches(sizes)
    describe = describing(OPTIMIZERS["adam"], accumulate_steps=steps)
    whole = Loop(describe, data).run(data, finish=True)
    saved = Loop(describe, data).run(data[:stop]).save()
    assert any(name.endswith("/accumulated_gradient") for name in saved[1]) == (stop % steps > 0)
    assert_same(Loop(describe, data).load(saved).run(data[stop:], finish=True).net, whole.net)


@pytest.mark.parametrize(
    ("before", "after", "stop", "windows"),
    [
        (4, 2, 5, [4, 2, 2, 2]),
        (4, 2, 7, [4, 4, 2]),
        (2, 4, 5, [2, 2, 4, 2]),
        (4, 5, 5, [4, 5, 1]),
        (3, 1, 5, [3, 3, 1, 1, 1, 1]),
        (3, 1, 6, [3, 3, 1, 1, 1, 1]),
    ],
)
def test_the_window_may_have_another_size_when_resuming(before, after, stop, windows):
    data = batches([3, 8, 5, 2, 9, 4, 4, 6, 1, 7])
    saved = Loop(describing(OPTIMIZERS["sgd"], accumulate_steps=before), data).run(data[:stop]).save()
    resumed = Loop(describing(OPTIMIZERS["sgd"], accumulate_steps=after), data).load(saved)
    assert resumed.optimization.weighs_batches == (after > 1 or stop % before > 0)
    resumed.run(data[stop:], finish=True)
    remaining = iter(data)
    wholes = [one_window([*itertools.islice(remaining, count)]) for count in windows]
    assert_close(resumed.net, plain_loop(wholes, OPTIMIZERS["sgd"]))


def test_another_learning_rate_takes_effect_without_a_schedule():
    slow, fast = (describing(lambda p, lr=lr: torch.optim.SGD(p, lr=lr, momentum=0.9)) for lr in (0.01, 0.1))
    saved = Loop(slow, DATA).run(DATA[:5]).save()
    resumed = Loop(fast, DATA).load(saved)
    assert resumed.optimization.optimizers[0].param_groups[0]["lr"] == 0.1
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for index, batch in enumerate(DATA):
        if index == 5:
            optimizer.param_groups[0]["lr"] = 0.1
        loss_of(net, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_same(resumed.run(DATA[5:]).net, net)


@pytest.mark.parametrize(("saved_with", "loaded_with"), [*itertools.permutations(["sgd", "adam", "rmsprop"], 2)])
def test_another_optimizer_is_refused(saved_with, loaded_with):
    saved = Loop(describing(OPTIMIZERS[saved_with]), DATA).run(DATA[:2]).save()
    with pytest.raises(
        ValueError, match=r"written with the optimizers \['\w+'\], model_fn asks for \['\w+'\].*warm_start"
    ):
        Loop(describing(OPTIMIZERS[loaded_with]), DATA).load(saved)


def test_more_optimizers_are_refused():
    saved = Loop(describing(OPTIMIZERS["adam"]), DATA).run(DATA[:2]).save()
    with pytest.raises(ValueError, match=r"\['Adam'\], model_fn asks for \['Adam', 'SGD'\]"):
        Loop(gan(*GANS["disjoint"][:2]), DATA).load(saved)


# Loss scaling


def half_scaler(**arguments):
    return torch.amp.GradScaler("cpu", **{"init_scale": 2.0**10, "growth_interval": 3, **arguments})


def overflowing(weight):
    """A description whose loss overflows where a batch's first feature is 1e30."""

    def describe(net, batch):
        return te.group(
            te.minimize(
                loss_of(net, batch), OPTIMIZERS["momentum"], SCHEDULES["step"], clip_norm=0.5, var_list=net.head
            ),
            te.minimize(loss_of(net, batch) * weight, OPTIMIZERS["adam"], var_list=net.body, accumulate_steps=2),
        )

    return describe


def test_loss_scaling_changes_nothing_but_the_scale():
    describe = overflowing(1.0)
    scaled = Loop(describe, DATA, half_scaler()).run(DATA)
    assert scaled.scaler.get_scale() > 2.0**10
    assert_close(scaled.net, Loop(describe, DATA).run(DATA).net, 1e-5)


def test_single_descriptions_are_scaled_too():
    describe = describing(OPTIMIZERS["momentum"], clip_norm=0.5, accumulate_steps=2)
    assert_close(Loop(describe, DATA, half_scaler()).run(DATA).net, Loop(describe, DATA).run(DATA).net, 1e-5)


def test_an_overflow_leaves_the_update_and_the_schedule_where_they_were():
    describe = describing(OPTIMIZERS["momentum"], scheduler_fn=SCHEDULES["exponential"])
    loop = Loop(describe, DATA, half_scaler(growth_interval=1000)).run(DATA[:3])
    before = {name: value.clone() for name, value in loop.net.state_dict().items()}
    rate = loop.optimization.optimizers[0].param_groups[0]["lr"]
    x, y = DATA[3]
    loop.run([(x * torch.inf, y)])
    assert all(torch.equal(value, before[name]) for name, value in loop.net.state_dict().items())
    assert loop.scaler.get_scale() == 2.0**9
    assert loop.optimization.optimizers[0].param_groups[0]["lr"] == rate
    without = Loop(describe, DATA).run(DATA[:3] + DATA[4:8])
    assert_close(loop.run(DATA[4:8]).net, without.net, 1e-5)


def test_the_scale_is_saved_and_windows_keep_their_gradients():
    describe = overflowing(1.0)
    whole = Loop(describe, DATA, half_scaler()).run(DATA)
    saved = Loop(describe, DATA, half_scaler()).run(DATA[:7]).save()
    resumed = Loop(describe, DATA, half_scaler(init_scale=4.0)).load(saved).run(DATA[7:])
    assert_same(resumed.net, whole.net)
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()
    # With another precision the gradients of the window have another scale.
    for scaler in (None, half_scaler(init_scale=4.0)):
        other = Loop(describe, DATA, scaler)
        other.load(Loop(describe, DATA, None if scaler else half_scaler()).run(DATA[:7]).save())
        assert_close(other.run(DATA[7:]).net, whole.net, 1e-5)
