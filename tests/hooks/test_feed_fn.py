"""Values put into each batch by a hook."""

import numpy as np
import pytest

import torchestimator as te
from tests.hooks.training import BATCH, Fetch, input_fn, make_estimator


def test_each_step_gets_the_values_of_its_own_call(tmp_path):
    calls = []

    def feed_fn():
        calls.append(len(calls))
        return {"features/x": np.full((BATCH, 2), calls[-1], np.float32)}

    seen = Fetch("features/x")
    make_estimator(tmp_path).train(input_fn(), hooks=[te.FeedFnHook(feed_fn), seen], steps=3)
    assert [float(x.mean()) for x in seen.results] == [0.0, 1.0, 2.0]
    assert calls == [0, 1, 2]


def test_the_model_learns_from_what_is_fed(tmp_path):
    hook = te.FeedFnHook(lambda: {"labels": np.full(BATCH, 7.0)})
    outputs = Fetch("outputs")
    make_estimator(tmp_path).train(input_fn(), hooks=[hook, outputs], steps=300)
    assert outputs.results[-1] == pytest.approx(7.0, abs=0.05)


def test_evaluation_and_prediction_are_fed_as_well(tmp_path):
    estimator = make_estimator(tmp_path)
    hook = te.FeedFnHook(lambda: {"features": {"x": np.zeros((BATCH, 2))}})
    (predictions,) = estimator.predict(input_fn(1), hooks=[hook], yield_single_examples=False)
    assert len(set(predictions["outputs"].tolist())) == 1
    labels = te.FeedFnHook(lambda: {"labels": predictions["outputs"]})
    assert estimator.evaluate(input_fn(1), hooks=[hook, labels])["error"] == 0


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"`feed_fn` must be a function without arguments\. Received: \{\}"):
        te.FeedFnHook({})


def test_a_function_that_gives_no_dict_is_refused(tmp_path):
    hook = te.FeedFnHook(lambda: [1, 2])
    with pytest.raises(TypeError, match=r"`feed_dict` must be a dict.*Received: \[1, 2\]"):
        make_estimator(tmp_path).train(input_fn(), hooks=[hook], steps=1)
