"""Numbers of batches of an evaluation."""

import pytest

from tests.hooks.training import Calls, input_fn, lines, make_estimator
from torchestimator.hooks.evaluation import StopAfterNEvalsHook


def shown(caplog):
    return [line.removeprefix("Evaluation ") for line in lines(caplog) if line.startswith("Evaluation [")]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [1]),
        (5, [1, 2, 3, 4, 5]),
        (20, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (25, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 25]),
        (None, []),
    ],
)
def test_an_evaluation_tells_how_far_it_is(tmp_path, caplog, steps, expected):
    hook = Calls()
    make_estimator(tmp_path).evaluate(input_fn(30), steps=steps, hooks=[hook])
    assert shown(caplog) == [f"[{step}/{steps}]" for step in expected]
    assert [call[1] for call in hook.calls].count("after_run") == (steps or 30)


def test_the_input_may_end_before(tmp_path, caplog):
    make_estimator(tmp_path).evaluate(input_fn(2), steps=3)
    assert shown(caplog) == ["[1/3]", "[2/3]"]


def test_a_hook_may_be_used_again(tmp_path, caplog):
    hook = StopAfterNEvalsHook(2)
    estimator = make_estimator(tmp_path)
    for _ in range(2):
        estimator.evaluate(input_fn(5), hooks=[hook])
    assert shown(caplog) == ["[1/2]", "[2/2]", "[1/2]", "[2/2]"]
