"""Several heads."""

import pytest
import torch

from tests.head.cases import values_of
from torchestimator.head import BinaryClassHead, MultiClassHead, MultiHead, RegressionHead
from torchestimator.summary.record import Recorder, recording

LOGITS = torch.tensor([[0.2, 1.0, 2.0, 3.0], [-1.0, 0.0, 0.0, 1.0]])
LABELS = {"click": torch.tensor([1, 0]), "kind": torch.tensor([0, 2])}


def make(head_weights=None, reductions=("sum_over_batch_size",) * 2):
    parts = [
        BinaryClassHead(name="click", loss_reduction=reductions[0]),
        MultiClassHead(3, name="kind", loss_reduction=reductions[1]),
    ]
    return MultiHead(parts, head_weights)


def separate_losses():
    return (
        BinaryClassHead().loss(LABELS["click"], LOGITS[:, :1]).item(),
        MultiClassHead(3).loss(LABELS["kind"], LOGITS[:, 1:]).item(),
    )


def test_the_loss_is_the_weighted_sum():
    click, kind = separate_losses()
    assert make().loss(LABELS, LOGITS).item() == pytest.approx(click + kind)
    weighted = make([2.0, 0.5]).loss(LABELS, LOGITS, regularization_losses=[torch.tensor(0.25)] * 2)
    assert weighted.item() == pytest.approx(2 * click + 0.5 * kind + 0.5)


def test_logits_are_one_tensor_or_one_for_each_head():
    split = {"click": LOGITS[:, :1], "kind": LOGITS[:, 1:]}
    assert make().loss(LABELS, split) == make().loss(LABELS, LOGITS)
    assert make().logits_dimension == 4
    assert make().name == "click_kind"


def test_predictions_are_keyed_by_head_and_key():
    predictions = make().predictions(LOGITS)
    assert set(predictions) == {
        *(("click", key) for key in BinaryClassHead().predictions(LOGITS[:, :1])),
        *(("kind", key) for key in MultiClassHead(3).predictions(LOGITS[:, 1:])),
    }
    assert list(make().predictions(LOGITS, [("kind", "logits")])) == [("kind", "logits")]
    with pytest.raises(ValueError, match="`keys` must be among"):
        make().predictions(LOGITS, ["logits"])


def test_metrics_are_those_of_all_heads_and_their_losses():
    click, kind = separate_losses()
    spec = make().create_estimator_spec({}, "eval", LOGITS, LABELS, regularization_losses=[torch.tensor(0.5)])
    found = values_of(spec.eval_metric_ops)
    assert set(found) == set(make().metrics(regularization_losses=[torch.tensor(0.5)]))
    assert found["loss/click"] == pytest.approx(click)
    assert found["loss/kind"] == pytest.approx(kind)
    assert found["regularization_loss/click_kind"] == pytest.approx(0.5)
    assert spec.loss.item() == pytest.approx(click + kind + 0.5)
    assert {"accuracy/click", "accuracy/kind", "auc/click", "average_loss/kind"} <= set(found)


def test_signatures():
    spec = make().create_estimator_spec({}, "infer", LOGITS)
    assert set(spec.export_outputs) == {
        *("serving_default", "predict", "click", "click/classification", "click/regression", "click/predict"),
        *("kind", "kind/classification", "kind/predict"),
    }
    assert spec.export_outputs["serving_default"] is spec.export_outputs["click"]
    assert {"click/logistic", "kind/probabilities"} <= set(spec.export_outputs["predict"].outputs)


def test_training_records_each_loss():
    recorder = Recorder()
    with recording(recorder):
        spec = make().create_estimator_spec(
            {}, "train", LOGITS, LABELS, optimizer=torch.optim.SGD, regularization_losses=[torch.tensor(0.5)]
        )
    click, kind = separate_losses()
    assert {item.tag: item.tensors[0].item() for item in recorder.items} == pytest.approx(
        {"loss": click + kind + 0.5, "loss/click": click, "loss/kind": kind, "regularization_loss": 0.5}
    )
    assert spec.train_op.loss is spec.loss


def test_training_needs_one_reduction():
    mixed = make(reductions=("sum", "sum_over_batch_size"))
    mixed.create_estimator_spec({}, "eval", LOGITS, LABELS)
    with pytest.raises(ValueError, match=r"same `loss_reduction`.*'click': 'sum'"):
        mixed.create_estimator_spec({}, "train", LOGITS, LABELS, optimizer=torch.optim.SGD)


@pytest.mark.parametrize(
    ("heads", "weights", "error", "message"),
    [
        ([], None, ValueError, "at least one head"),
        ([RegressionHead()], None, ValueError, "name of its own"),
        ([RegressionHead(name="a"), RegressionHead(name="a")], None, ValueError, "name of its own"),
        ([RegressionHead(name="a")], [1.0, 2.0], ValueError, "2 weights for 1 heads"),
        (["a"], None, TypeError, "must hold heads"),
    ],
)
def test_bad_arguments(heads, weights, error, message):
    with pytest.raises(error, match=message):
        MultiHead(heads, weights)


@pytest.mark.parametrize(
    ("labels", "logits", "error", "message"),
    [
        (torch.tensor([1, 0]), LOGITS, TypeError, r'labels=\{"click": ..., "kind": ...\}'),
        (None, LOGITS, TypeError, "NoneType"),
        ({"click": LABELS["click"]}, LOGITS, ValueError, r"none for \['kind'\]"),
        (LABELS, {"kind": LOGITS[:, 1:]}, ValueError, r"none for \['click'\]"),
        (LABELS, LOGITS[:, :2], ValueError, r"last dimension 4.*\{'click': 1, 'kind': 3\}"),
        (LABELS, [1.0], TypeError, "list"),
    ],
)
def test_bad_labels_and_logits(labels, logits, error, message):
    with pytest.raises(error, match=message):
        make().loss(labels, logits)
