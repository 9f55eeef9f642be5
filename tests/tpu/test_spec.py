"""TPUEstimatorSpec and what becomes of it."""

import pytest
import torch

import torchestimator as te
from torchestimator.tpu import TPUEstimatorSpec

LOSS = torch.tensor(1.0)
ONES = torch.ones(3)


def accuracy_of(labels, predictions):
    return {"accuracy": te.metrics.accuracy(labels, predictions)}


@pytest.mark.parametrize("tensors", [[ONES, ONES], (ONES, ONES), {"predictions": ONES, "labels": ONES}])
def test_metrics_are_made_in_evaluation(tensors):
    spec = TPUEstimatorSpec(te.ModeKeys.EVAL, loss=LOSS, eval_metrics=(accuracy_of, tensors)).as_estimator_spec()
    assert isinstance(spec, te.EstimatorSpec)
    assert float(spec.eval_metric_ops["accuracy"].compute()) == 1


def test_metrics_cost_nothing_in_training():
    calls = []
    spec = TPUEstimatorSpec(te.ModeKeys.TRAIN, loss=LOSS, train_op=lambda: None, eval_metrics=(calls.append, [ONES]))
    assert spec.as_estimator_spec().eval_metric_ops == {}
    assert not calls


def test_all_parts_are_handed_on():
    hooks = [[te.FeedFnHook(dict)] for _ in range(3)]
    spec = TPUEstimatorSpec(
        te.ModeKeys.PREDICT,
        predictions={"x": ONES},
        export_outputs={"one": te.export.PredictOutput({"x": ONES})},
        training_hooks=hooks[0],
        evaluation_hooks=hooks[1],
        prediction_hooks=hooks[2],
    ).as_estimator_spec()
    assert spec.predictions["x"] is ONES
    assert set(spec.export_outputs) == {"one", "serving_default"}
    assert [list(each) for each in (spec.training_hooks, spec.evaluation_hooks, spec.prediction_hooks)] == hooks


def test_replace_makes_a_copy():
    spec = TPUEstimatorSpec(te.ModeKeys.EVAL, loss=LOSS)
    other = spec._replace(loss=2 * LOSS)
    assert (float(spec.loss), float(other.loss)) == (1, 2)


@pytest.mark.parametrize(
    ("eval_metrics", "kind", "message"),
    [
        (accuracy_of, TypeError, r"`eval_metrics` must be a pair \(function, tensors\)"),
        ((accuracy_of,), TypeError, "must be a pair"),
        (({}, [ONES]), TypeError, r"`eval_metrics\[0\]` must be a function"),
        ((accuracy_of, ONES), TypeError, r"`eval_metrics\[1\]` must be a list or a dict of tensors"),
        ((accuracy_of, [ONES, 3]), TypeError, "must hold tensors. Received: 3 at 1"),
        ((accuracy_of, [ONES]), ValueError, "gives its function 1 tensors by position, and it takes"),
        ((accuracy_of, {"labels": ONES, "x": ONES}), ValueError, r"2 tensors by the names \['labels', 'x'\]"),
    ],
)
def test_metrics_are_checked(eval_metrics, kind, message):
    with pytest.raises(kind, match=message):
        TPUEstimatorSpec(te.ModeKeys.EVAL, loss=LOSS, eval_metrics=eval_metrics)


def test_other_errors():
    with pytest.raises(ValueError, match=r"`scaffold_fn` has no counterpart.*warm_start_from"):
        TPUEstimatorSpec(te.ModeKeys.EVAL, loss=LOSS, scaffold_fn=lambda: None)
    with pytest.raises(TypeError, match="`host_call` must be a pair"):
        TPUEstimatorSpec(te.ModeKeys.EVAL, loss=LOSS, host_call=print)
    with pytest.raises(ValueError, match="needs a `loss`"):
        TPUEstimatorSpec(te.ModeKeys.EVAL).as_estimator_spec()
