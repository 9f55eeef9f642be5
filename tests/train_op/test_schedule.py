"""Schedules, and settings that are other ones when training resumes."""

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from tests.train_op.settings import OPTIMIZERS, SCHEDULES
from torchestimator.checkpoint.json_document import decode, encode
from torchestimator.train_op.schedule import Schedule


def make(optimizer_fn, scheduler_fn=None):
    """An optimizer over one weight, and its schedule."""
    optimizer = optimizer_fn([torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))])
    return optimizer, Schedule(scheduler_fn, optimizer)


def run(optimizer, schedule, updates):
    """The learning rates of that many updates."""
    rates = []
    for _ in range(updates):
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return rates


def through_json(schedule):
    return decode(encode(schedule.state_dict(), "schedule"))


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_torchs(name):
    optimizer, schedule = make(OPTIMIZERS["adamw groups"], SCHEDULES[name])
    expected, _ = make(OPTIMIZERS["adamw groups"])
    scheduler = SCHEDULES[name](expected)
    rates = []
    for _ in range(20):
        rates.append([group["lr"] for group in expected.param_groups])
        expected.step()
        scheduler.step()
    assert run(optimizer, schedule, 20) == rates


@pytest.mark.parametrize("name", SCHEDULES)
def test_all_settings_of_the_optimizer_come_back(name):
    whole = make(OPTIMIZERS["adam"], SCHEDULES[name])
    run(*whole, 7)
    resumed = make(OPTIMIZERS["adam"], SCHEDULES[name])
    resumed[1].load_state_dict(through_json(whole[1]))
    without = {"params"}
    for one, other in zip(whole[0].param_groups, resumed[0].param_groups, strict=True):
        assert {k: v for k, v in one.items() if k not in without} == {
            k: v for k, v in other.items() if k not in without
        }
    assert run(*resumed, 10) == run(*whole, 10)
    assert through_json(resumed[1]) == through_json(whole[1])


@pytest.mark.parametrize("name", [*SCHEDULES, None])
def test_another_learning_rate_takes_effect(name):
    before, after = (lambda p, lr=lr: torch.optim.Adam(p, lr=lr) for lr in (0.01, 0.02))
    scheduler_fn = SCHEDULES[name] if name else None
    old = make(before, scheduler_fn)
    run(*old, 7)
    resumed = make(after, scheduler_fn)
    resumed[1].load_state_dict(through_json(old[1]))
    undisturbed = make(after, scheduler_fn)
    run(*undisturbed, 7)
    assert run(*resumed, 8) == run(*undisturbed, 8)


def test_another_schedule_takes_effect_at_its_present_position():
    old = make(OPTIMIZERS["sgd"], lambda o: schedules.CosineAnnealingLR(o, 10))
    run(*old, 6)
    for scheduler_fn in (
        lambda o: schedules.CosineAnnealingLR(o, 100),
        lambda o: schedules.StepLR(o, 4, 0.5),
        lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
        None,
    ):
        resumed = make(OPTIMIZERS["sgd"], scheduler_fn)
        resumed[1].load_state_dict(through_json(old[1]))
        undisturbed = make(OPTIMIZERS["sgd"], scheduler_fn)
        run(*undisturbed, 6)
        assert run(*resumed, 8) == run(*undisturbed, 8)


def test_a_schedule_may_be_added():
    old = make(OPTIMIZERS["sgd"])
    run(*old, 6)
    resumed = make(OPTIMIZERS["sgd"], lambda o: schedules.StepLR(o, 4, 0.5))
    resumed[1].load_state_dict(through_json(old[1]))
    assert run(*resumed, 3) == [[0.05], [0.05], [0.025]]


def test_changed_settings_are_logged(caplog):
    old = make(OPTIMIZERS["sgd"])
    same, changed = make(OPTIMIZERS["sgd"]), make(OPTIMIZERS["momentum"])
    with caplog.at_level("INFO", "torchestimator"):
        same[1].load_state_dict(through_json(old[1]))
        assert not caplog.records
        changed[1].load_state_dict(through_json(old[1]))
    assert "the code's are used" in caplog.text
    assert changed[0].param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("name", ["step", "multiplicative", None])
def test_what_a_hook_has_changed_stays_changed(name):
    scheduler_fn = SCHEDULES[name] if name else None
    optimizer, schedule = make(OPTIMIZERS["momentum"], scheduler_fn)
    run(optimizer, schedule, 4)
    optimizer.param_groups[0].update(lr=0.007, momentum=0.5, comment="by a hook")
    resumed = make(OPTIMIZERS["momentum"], scheduler_fn)
    resumed[1].load_state_dict(through_json(schedule))
    assert resumed[0].param_groups[0]["momentum"] == 0.5
    assert resumed[0].param_groups[0]["comment"] == "by a hook"
    assert run(*resumed, 8) == run(optimizer, schedule, 8)


def test_rates_that_are_tensors_stay_the_same_tensors():
    whole = make(OPTIMIZERS["adam tensor"], SCHEDULES["step"])
    run(*whole, 4)
    optimizer, schedule = make(OPTIMIZERS["adam tensor"], SCHEDULES["step"])
    rate = optimizer.param_groups[0]["lr"]
    schedule.load_state_dict(through_json(whole[1]))
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.005)


class Recorded:
    """A schedule that is not torch's."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0

    def step(self):
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 1 / (1 + self.count)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_schedules_of_ones_own():
    whole = make(OPTIMIZERS["sgd"], Recorded)
    run(*whole, 4)
    resumed = make(OPTIMIZERS["sgd"], Recorded)
    resumed[1].load_state_dict(through_json(whole[1]))
    assert run(*resumed, 3) == [[1 / 5], [1 / 6], [1 / 7]]


@pytest.mark.parametrize(
    ("scheduler_fn", "error", "message"),
    [
        (lambda o: None, TypeError, "must return a torch.optim.lr_scheduler. Received: None.*lambda opt"),
        (lambda o: 0.1, TypeError, "Received: 0.1"),
        (schedules.ReduceLROnPlateau, TypeError, "depends on the step alone. Received: ReduceLROnPlateau"),
        (lambda o: schedules.StepLR(make(OPTIMIZERS["sgd"])[0], 3), ValueError, "of the optimizer that it is given"),
    ],
)
def test_wrong_schedules_are_refused(scheduler_fn, error, message):
    with pytest.raises(error, match=message):
        make(OPTIMIZERS["sgd"], scheduler_fn)
