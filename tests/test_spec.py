"""EstimatorSpec: what each mode needs, and what becomes of what is left out."""

import dataclasses

import pytest
import torch
from torch.utils import _pytree

import torchestimator as te
from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE

LOSS = torch.tensor(2.0, requires_grad=True)
ROWS = torch.ones(3, 2)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


TRAIN_OP = te.minimize(LOSS, sgd)
HOOK = te.StopAtStepHook(last_step=1)
HOOKS = ("training_chief_hooks", "training_hooks", "evaluation_hooks", "prediction_hooks")


def test_the_fields_are_the_originals_in_its_order():
    assert [field.name for field in dataclasses.fields(te.EstimatorSpec)] == [
        "mode", "predictions", "loss", "train_op", "eval_metric_ops", "export_outputs", "training_chief_hooks",
        "training_hooks", "scaffold", "evaluation_hooks", "prediction_hooks",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "needed"),
    [("train", {"loss": LOSS, "train_op": TRAIN_OP}), ("eval", {"loss": LOSS}), ("infer", {"predictions": ROWS})],
)
def test_what_is_left_out_becomes_empty(mode, needed):
    spec = te.EstimatorSpec(mode, **needed)
    assert spec.eval_metric_ops == {}
    assert [getattr(spec, name) for name in HOOKS] == [()] * 4
    assert spec.scaffold is None
    if mode != "infer":
        assert spec.predictions == {}
        assert spec.export_outputs is None


@pytest.mark.parametrize("mode", te.ModeKeys.ALL)
def test_everything_may_be_given_in_every_mode(mode):
    metric = te.metrics.mean(ROWS)
    output = te.export.PredictOutput(ROWS)
    spec = te.EstimatorSpec(
        mode, {"a": ROWS}, LOSS, TRAIN_OP, {"mean": metric}, {"serving_default": output},
        [HOOK], [HOOK], None, [HOOK], (HOOK,),
    )  # fmt: skip
    assert (spec.predictions, spec.loss, spec.train_op) == ({"a": ROWS}, LOSS, TRAIN_OP)
    assert spec.eval_metric_ops == {"mean": metric}
    assert spec.export_outputs == {"serving_default": output}
    assert [getattr(spec, name) for name in HOOKS] == [(HOOK,)] * 4


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_loss_of_one_element_becomes_a_scalar(shape):
    spec = te.EstimatorSpec("eval", loss=LOSS.reshape(shape))
    assert spec.loss.shape == ()
    assert spec.loss.grad_fn is not None


@pytest.mark.parametrize(
    ("mode", "arguments", "error", "message"),
    [
        ("predict", {"predictions": ROWS}, ValueError, r"one of \['train', 'eval', 'infer'\]. Received: 'predict'"),
        (None, {}, ValueError, "`mode` must be one of"),
        ("train", {}, ValueError, 'needs a `train_op` in mode "train".*te.minimize'),
        ("train", {"train_op": TRAIN_OP}, ValueError, 'needs a `loss` in mode "train"'),
        ("eval", {}, ValueError, 'needs a `loss` in mode "eval"'),
        ("infer", {"loss": LOSS}, ValueError, 'needs `predictions` in mode "infer"'),
        ("train", {"loss": LOSS, "train_op": 3}, TypeError, "`train_op` must be a result of te.minimize.*Received: 3"),
        ("train", {"loss": LOSS, "train_op": sgd([LOSS])}, TypeError, r"Received: SGD \("),
        ("eval", {"loss": LOSS, "train_op": LOSS}, TypeError, r"Received: tensor\[\]"),
        ("eval", {"loss": 1.0}, TypeError, "`loss` must be a tensor. Received: 1.0"),
        ("eval", {"loss": ROWS}, ValueError, r"must be a scalar.*Received: shape \[3, 2\]"),
        ("infer", {"predictions": [ROWS]}, TypeError, "`predictions` must be a tensor or a dict of tensors"),
        ("infer", {"predictions": {"a": [1]}}, TypeError, r"Received: predictions\['a'\]=\[1\]"),
        ("eval", {"loss": LOSS, "eval_metric_ops": [1]}, TypeError, "`eval_metric_ops` must be a dict.*Received: list"),
        ("infer", {"predictions": ROWS, "export_outputs": [1]}, TypeError, "`export_outputs` must be a dict"),
        ("infer", {"predictions": ROWS, "export_outputs": {"a": ROWS}}, TypeError, "Received: a=a tensor of float32"),
        ("eval", {"loss": LOSS, "scaffold": object()}, ValueError, "`scaffold` has no counterpart"),
        *(
            (
                "eval",
                {"loss": LOSS, name: ["hook"]},
                TypeError,
                f"`{name}` must hold SessionRunHook objects. Received: 'hook'",
            )
            for name in HOOKS
        ),
    ],
)
def test_wrong_parts_are_refused(mode, arguments, error, message):
    with pytest.raises(error, match=message):
        te.EstimatorSpec(mode, **arguments)


def test_the_train_op_is_missed_first():
    with pytest.raises(ValueError, match="`train_op`"):
        te.EstimatorSpec("train")


def test_a_function_is_a_train_op():
    spec = te.EstimatorSpec("train", loss=LOSS, train_op=len)
    assert spec.train_op is len


# Serving signatures


def outputs(names):
    return {name: te.export.PredictOutput({name: ROWS}) for name in names}


def test_predictions_are_the_default_signature():
    spec = te.EstimatorSpec("infer", predictions={"a": ROWS, "b": ROWS + 1})
    (name, output), *others = spec.export_outputs.items()
    assert not others
    assert name == DEFAULT_SERVING_SIGNATURE
    assert output.outputs.keys() == {"a", "b"}
    assert te.EstimatorSpec("infer", predictions=ROWS).export_outputs[name].outputs == {"output": ROWS}


def test_a_single_signature_is_the_default_too():
    given = outputs(["scores"])
    spec = te.EstimatorSpec("infer", predictions=ROWS, export_outputs=given)
    assert spec.export_outputs == {"scores": given["scores"], DEFAULT_SERVING_SIGNATURE: given["scores"]}
    assert list(given) == ["scores"]


def test_several_signatures_need_a_default():
    with pytest.raises(ValueError, match=r"none is the default.*Received: \['a', 'b'\]"):
        te.EstimatorSpec("infer", predictions=ROWS, export_outputs=outputs("ab"))
    given = outputs(["a", DEFAULT_SERVING_SIGNATURE])
    assert te.EstimatorSpec("infer", predictions=ROWS, export_outputs=given).export_outputs == given


def test_no_signature_may_be_asked_for():
    assert te.EstimatorSpec("infer", predictions=ROWS, export_outputs={}).export_outputs == {}


# Copies


def specs():
    return [
        te.EstimatorSpec("train", loss=LOSS, train_op=te.group(TRAIN_OP, TRAIN_OP), training_hooks=[HOOK]),
        te.EstimatorSpec("eval", {"a": ROWS}, LOSS, eval_metric_ops={"mean": te.metrics.mean(ROWS)}),
        te.EstimatorSpec("infer", {"a": ROWS}, export_outputs=outputs(["scores"])),
    ]


def fields_of(spec):
    return {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}


@pytest.mark.parametrize("spec", specs(), ids=te.ModeKeys.ALL)
def test_replacing_nothing_changes_nothing(spec):
    assert fields_of(dataclasses.replace(spec)) == fields_of(spec)
    assert fields_of(spec._replace()) == fields_of(spec)
    assert fields_of(spec._replace(mode=spec.mode)) == fields_of(spec)


def test_replace():
    spec = specs()[1]
    changed = spec._replace(predictions=None, evaluation_hooks=[HOOK])
    assert changed.predictions == {}
    assert changed.evaluation_hooks == (HOOK,)
    assert spec.evaluation_hooks == ()
    with pytest.raises(
        ValueError, match=r"`mode` of an EstimatorSpec can't be changed.*'train' for a spec of mode 'eval'"
    ):
        spec._replace(mode="train")
    with pytest.raises(ValueError, match="needs a `loss`"):
        spec._replace(loss=None)


@pytest.mark.parametrize("spec", specs(), ids=te.ModeKeys.ALL)
def test_specs_are_transparent_to_torch(spec):
    leaves, tree = _pytree.tree_flatten(spec)
    again = _pytree.tree_unflatten(leaves, tree)
    assert type(again) is te.EstimatorSpec
    assert fields_of(again) == fields_of(spec)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    for expected in (spec.loss, *spec.predictions.values()):
        assert expected is None or any(tensor is expected for tensor in tensors)
    # Torch rebuilds specs with leaves of any kind.
    strange = _pytree.tree_map(lambda leaf: "leaf", spec)
    assert (strange.mode, strange.loss, strange.training_hooks) == (spec.mode, "leaf", spec.training_hooks)


def test_the_text_of_a_spec_is_short():
    text = repr(specs()[1])
    assert text.startswith("EstimatorSpec(mode='eval', predictions={a}, loss=tensor[], eval_metric_ops={mean}")
    assert "tensor([" not in repr(specs()[2])
