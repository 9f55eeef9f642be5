"""Values of the end."""

import pytest

import torchestimator as te
from tests.hooks.training import Fetch, input_fn, make_estimator


def test_values_of_the_last_step_of_a_training(tmp_path):
    hook, losses = te.FinalOpsHook({"last": "loss", "more": ["step", "global_step"]}), Fetch("loss")
    assert hook.final_ops_values is None
    make_estimator(tmp_path).train(input_fn(), hooks=[hook, losses], steps=3)
    assert hook.final_ops_values == {"last": losses.results[-1], "more": [2, 3]}


def test_metrics_of_a_whole_evaluation(tmp_path):
    hook = te.FinalOpsHook(["metrics", "metrics/error", "global_step"])
    results = make_estimator(tmp_path).evaluate(input_fn(3), hooks=[hook])
    assert hook.final_ops_values == [{"error": results["error"], "loss": results["loss"]}, results["error"], 0]


def test_nothing_is_fetched_where_training_did_not_end_well(tmp_path):
    class Fails(te.SessionRunHook):
        def after_run(self, run_context, run_values):
            raise ZeroDivisionError

    hook = te.FinalOpsHook("loss")
    with pytest.raises(ZeroDivisionError):
        make_estimator(tmp_path).train(input_fn(), hooks=[hook, Fails()], steps=3)
    assert hook.final_ops_values is None


def test_a_feed_at_the_end_is_refused():
    with pytest.raises(ValueError, match="`final_ops_feed_dict` has no meaning here"):
        te.FinalOpsHook("loss", {"features/x": 0})
