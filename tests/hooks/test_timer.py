"""When something periodic is due."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te


def test_steps_trigger_at_the_first_question_and_then_by_distance():
    timer = te.SecondOrStepTimer(every_steps=10)
    triggered = []
    for step in (0, 5, 9, 10, 19, 20, 35, 44, 45):
        if timer.should_trigger_for_step(step):
            triggered.append(step)
            timer.update_last_triggered_step(step)
            assert not timer.should_trigger_for_step(step)
    assert triggered == [0, 10, 20, 35, 45]
    assert timer.last_triggered_step() == 45


@settings(deadline=None, max_examples=50)
@given(every=st.integers(1, 20), steps=st.lists(st.integers(0, 10), max_size=40))
def test_triggers_are_at_least_the_cadence_apart_and_none_is_missed(every, steps):
    timer, step, last = te.SecondOrStepTimer(every_steps=every), 0, None
    for advance in steps:
        step += advance
        due = timer.should_trigger_for_step(step)
        assert due == (last is None or step - last >= every)
        if due:
            elapsed, count = timer.update_last_triggered_step(step)
            assert count == (None if last is None else step - last)
            assert elapsed is None if last is None else elapsed >= 0
            last = step


def test_no_seconds_trigger_at_every_step_but_once_per_step():
    timer = te.SecondOrStepTimer(every_secs=0)
    for step in (3, 4, 9):
        assert timer.should_trigger_for_step(step)
        timer.update_last_triggered_step(step)
        assert not timer.should_trigger_for_step(step)


def test_many_seconds_do_not_pass_at_once():
    timer = te.SecondOrStepTimer(every_secs=1e6)
    assert timer.should_trigger_for_step(1)
    assert timer.update_last_triggered_step(1) == (None, None)
    assert not timer.should_trigger_for_step(2)


def test_reset_forgets():
    timer = te.SecondOrStepTimer(every_steps=5)
    timer.update_last_triggered_step(3)
    timer.reset()
    assert timer.last_triggered_step() is None
    assert timer.should_trigger_for_step(3)
    assert timer.update_last_triggered_step(3) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "Exactly one of `every_secs` and `every_steps` .*Received: every_secs=None, every_steps=None"),
        ({"every_secs": 1, "every_steps": 2}, ValueError, "Exactly one of .*every_steps=2. Pass None for the other"),
        ({"every_steps": 0}, ValueError, "`every_steps` must be at least 1. Received: 0"),
        ({"every_secs": -1.0}, ValueError, "`every_secs` must be at least 0. Received: -1.0"),
        ({"every_secs": float("nan")}, ValueError, "`every_secs` must be at least 0. Received: nan"),
        ({"every_steps": 1.5}, TypeError, "`every_steps` must be a whole number of steps. Received: 1.5"),
        ({"every_steps": True}, TypeError, "`every_steps` must be a whole number of steps. Received: True"),
        ({"every_secs": "1"}, TypeError, "`every_secs` must be a number of seconds. Received: '1'"),
    ],
)
def test_cadences_that_make_no_sense_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        te.SecondOrStepTimer(**arguments)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda **cadence: te.CheckpointSaverHook("dir", **cadence), ("save_secs", "save_steps")),
        (lambda **cadence: te.SummarySaverHook(output_dir="dir", **cadence), ("save_steps", "save_secs")),
        (te.ProfilerHook, ("save_steps", "save_secs")),
        (te.StepCounterHook, ("every_n_steps", "every_n_secs")),
    ],
)
def test_each_hook_names_its_own_arguments(make, names):
    one, other = names
    with pytest.raises(ValueError, match=f"Exactly one of `{one}` and `{other}`"):
        make(**{one: None, other: None})
    with pytest.raises(ValueError, match=f"Exactly one of `{one}` and `{other}`"):
        make(**{one: 1, other: 1})
    with pytest.raises(ValueError, match=f"`{one}` must be at least"):
        make(**{one: -1, other: None})
