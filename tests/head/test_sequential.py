"""A label at each step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.head.cases import LABELS, head_of, values_of, words
from torchestimator.head import BinaryClassHead, MultiClassHead, MultiHead, RegressionHead, SequentialHeadWrapper

MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])
LOGITS = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=20)
@given(data=st.data(), kind=st.sampled_from(sorted(LABELS)), reduction=st.sampled_from(["sum", "auto"]))
def test_padding_counts_for_nothing(data, kind, reduction):
    head = head_of(kind, weight_column="w", loss_reduction=reduction)
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=2))
    mask = torch.arange(3) < torch.tensor(lengths)[:, None]
    labels = LABELS[kind].reshape(2, 3, -1)
    logits = torch.randn(2, 3, head.logits_dimension, generator=torch.Generator().manual_seed(1))
    weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(2))
    padding = ~mask
    dirty_labels = labels.masked_fill(padding[..., None], -77)
    dirty_logits = logits.masked_fill(padding[..., None], torch.nan)
    features = {"mask": mask, "w": weights.masked_fill(padding, -1)}
    sequential = SequentialHeadWrapper(head, "mask", "w")
    loss, seen = sequential.loss_and_metrics(features, dirty_logits, dirty_labels)
    if not mask.any():
        assert loss == 0
        return
    plain, expected = head.loss_and_metrics({"w": weights[mask]}, logits[mask], labels[mask])
    torch.testing.assert_close(loss, plain)
    assert values_of(seen) == pytest.approx(values_of(expected))


def test_strings_and_gradients():
    head = SequentialHeadWrapper(MultiClassHead(3, label_vocabulary=["a", "b", "c"]), "mask")
    labels = words(["a", "b", "", "c", "", ""]).reshape(2, 3)
    logits = LOGITS.clone().requires_grad_()
    head.loss(labels, logits, {"mask": MASK}).backward()
    assert torch.equal((logits.grad != 0).any(-1), MASK.bool())
    with pytest.raises(ValueError, match=r"Received: '' \(row 0\), '' \(row 1\), '' \(row 1\) of 6"):
        head.loss(labels, LOGITS, {"mask": torch.ones(2, 3)})


def test_spec():
    head = SequentialHeadWrapper(BinaryClassHead(name="hd"), "mask")
    features = {"mask": MASK}
    spec = head.create_estimator_spec(features, "infer", LOGITS[..., :1])
    assert spec.predictions["mask"] is MASK
    assert spec.predictions["class_ids"].shape == (2, 3, 1)
    assert set(spec.export_outputs) == {"serving_default", "classification", "regression", "predict"}
    labels = torch.tensor([[0, 1, 5], [1, 5, 5]])
    spec = head.create_estimator_spec(features, "eval", LOGITS[..., :1], labels)
    assert set(spec.eval_metric_ops) == set(BinaryClassHead(name="hd").metrics())
    assert head.name == "hd_sequential"
    assert SequentialHeadWrapper(BinaryClassHead()).name is None
    assert head.input_sequence_mask_key == "mask"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SequentialHeadWrapper(MultiHead([RegressionHead(name="a")])), TypeError, "not a MultiHead"),
        (lambda: SequentialHeadWrapper(RegressionHead(), 3), TypeError, "`sequence_length_mask`"),
        (lambda: SequentialHeadWrapper(RegressionHead(), feature_columns=[3]), TypeError, "`feature_columns`"),
        (lambda: SequentialHeadWrapper(RegressionHead(weight_column="w")), ValueError, "feature of weights.*'w'"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("features", "logits", "message"),
    [
        ({"x": MASK}, LOGITS, r"'mask' \(`sequence_length_mask`\). Received: features \['x'\]"),
        ({"mask": MASK[0]}, LOGITS, r"\[batch, steps\]. Received: shape \[3\]"),
        ({"mask": MASK}, LOGITS[:, :2], r"steps of the mask \[2, 3\]. Received: \[2, 2, 3\]"),
    ],
)
def test_bad_batches(features, logits, message):
    head = SequentialHeadWrapper(MultiClassHead(3), "mask")
    with pytest.raises(ValueError, match=message):
        head.loss(torch.zeros(2, 3, dtype=torch.int64), logits, features)


def test_a_missing_feature_is_named():
    head = SequentialHeadWrapper(MultiClassHead(3), "mask", ["q"])
    with pytest.raises(ValueError, match=r"\['q'\].*\['mask'\]"):
        head.loss(torch.zeros(2, 3, dtype=torch.int64), LOGITS, {"mask": MASK})
