"""Laws of all heads with a loss per example."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.head.cases import LABELS, ROWS, head_of, logits_of, values_of

KINDS = sorted(LABELS)
REDUCTIONS = ["sum_over_batch_size", "sum", "auto"]


@settings(deadline=None, max_examples=30)
@given(data=st.data(), kind=st.sampled_from(KINDS), weighted=st.booleans())
def test_metrics_do_not_depend_on_batching(data, kind, weighted):
    head = head_of(kind, "w" if weighted else None)
    logits, labels = logits_of(head), LABELS[kind]
    weights = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=ROWS, max_size=ROWS)))
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, ROWS - 1)))), ROWS]
    found = head.metrics()
    for begin, end in pairwise(cuts):
        part = slice(begin, end)
        head.update_metrics(found, {"w": weights[part]}, logits[part], labels[part])
    whole = head.update_metrics(head.metrics(), {"w": weights}, logits, labels)
    assert values_of(found) == pytest.approx(values_of(whole), rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(kind=st.sampled_from(KINDS), reduction=st.sampled_from(REDUCTIONS), column=st.booleans(), whole=st.booleans())
def test_unit_weights_are_no_weights(kind, reduction, column, whole):
    plain, weighted = head_of(kind, None, None, reduction), head_of(kind, "w", None, reduction)
    logits, labels = logits_of(plain), LABELS[kind]
    weights = torch.ones((ROWS, 1) if column else (ROWS,), dtype=torch.int32 if whole else torch.float32)
    torch.testing.assert_close(weighted.loss(labels, logits, {"w": weights}), plain.loss(labels, logits))
    with_weights = weighted.loss_and_metrics({"w": weights}, logits, labels)[1]
    without = plain.loss_and_metrics({}, logits, labels)[1]
    assert values_of(with_weights) == pytest.approx(values_of(without))


@settings(deadline=None, max_examples=20)
@given(kind=st.sampled_from(KINDS), weights=st.lists(st.floats(0, 5, width=32), min_size=ROWS, max_size=ROWS))
def test_the_sum_is_the_mean_times_the_number_of_losses(kind, weights):
    features = {"w": torch.tensor(weights)}
    total, meaned = head_of(kind, "w", None, "sum"), head_of(kind, "w")
    logits, labels = logits_of(total), LABELS[kind]
    count = meaned.score(features, logits, labels).losses.numel()
    torch.testing.assert_close(total.loss(labels, logits, features), meaned.loss(labels, logits, features) * count)


@pytest.mark.parametrize("kind", KINDS)
def test_regularization_is_added(kind):
    head = head_of(kind, name="hd")
    logits, labels = logits_of(head), LABELS[kind]
    losses = [torch.tensor(0.5), torch.tensor(0.25)]
    torch.testing.assert_close(
        head.loss(labels, logits, regularization_losses=losses), head.loss(labels, logits) + 0.75
    )
    found = head.update_metrics(
        head.metrics(regularization_losses=losses), {}, logits, labels, regularization_losses=losses
    )
    assert values_of(found)["regularization_loss/hd"] == 0.75


def test_metrics_must_be_those_of_the_head():
    head = head_of("regression")
    with pytest.raises(ValueError, match=r"`eval_metrics`.*regularization_loss"):
        head.update_metrics(
            head.metrics(), {}, logits_of(head), LABELS["regression"], regularization_losses=[torch.tensor(1.0)]
        )


def test_regularization_losses_are_a_list():
    head = head_of("regression")
    with pytest.raises(TypeError, match="`regularization_losses` must be a list"):
        head.loss(LABELS["regression"], logits_of(head), regularization_losses=torch.tensor(1.0))
    assert head.loss(LABELS["regression"], logits_of(head), regularization_losses=[]) == head.loss(
        LABELS["regression"], logits_of(head)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_predictions_are_refused(kind):
    head = head_of(kind)
    with pytest.raises(ValueError, match=r"`keys` must be among.*Received: \['scores'\]"):
        head.predictions(logits_of(head), ["scores"])
