import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from torchestimator import metrics
from torchestimator.metrics.ranking import _top_k


@given(
    scores=st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=6), k=st.integers(1, 5)
)
@settings(deadline=None, max_examples=100)
def test_equal_scores_come_in_the_order_of_their_ids(scores: list[list[int]], k: int) -> None:
    expected = [sorted(range(5), key=[-score for score in row].__getitem__)[:k] for row in scores]
    assert _top_k(torch.tensor(scores), k).tolist() == expected
    assert _top_k(torch.tensor(scores, dtype=torch.bfloat16), k).tolist() == expected


@given(
    rows=st.lists(
        st.tuples(
            st.lists(st.integers(-2, 6), min_size=3, max_size=3),
            st.permutations(range(5)),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=8,
    ),
    k=st.integers(1, 5),
    class_id=st.one_of(st.none(), st.integers(0, 4)),
)
@settings(deadline=None, max_examples=100)
def test_values_are_those_of_sets(rows: list[tuple[list[int], list[int], int]], k: int, class_id: int | None) -> None:
    labels = torch.tensor([row[0] for row in rows])
    weights = torch.tensor([row[2] for row in rows])
    # The position in the permutation is the place of the class.
    scores = -torch.tensor([row[1] for row in rows]).argsort(-1)
    found = predicted = relevant = 0
    for given_labels, order, weight in rows:
        wanted, chosen = {label for label in given_labels if label >= 0}, set(order[:k])
        if class_id is not None:
            wanted, chosen = wanted & {class_id}, chosen & {class_id}
        found += weight * len(wanted & chosen)
        predicted += weight * len(chosen)
        relevant += weight * len(wanted)
    precision = metrics.precision_at_k(labels, scores, k, class_id, weights).compute().item()
    recall = metrics.recall_at_k(labels, scores, k, class_id, weights).compute().item()
    nan = float("nan")
    assert precision == pytest.approx(found / predicted if predicted else nan, nan_ok=True)
    assert recall == pytest.approx(found / relevant if relevant else nan, nan_ok=True)


def test_scikit_learn_agrees() -> None:
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 6, (100,), generator=generator)
    scores = torch.rand(100, 6, generator=generator)
    for k in (1, 2, 5):
        expected = sklearn_metrics.top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k)
        assert metrics.recall_at_k(labels, scores, k).compute().item() == pytest.approx(expected)
    # With one label, the average precision is the reciprocal rank.
    one_hot = torch.nn.functional.one_hot(labels, 6)
    expected = sklearn_metrics.label_ranking_average_precision_score(one_hot.numpy(), scores.numpy())
    assert metrics.average_precision_at_k(labels, scores, 6).compute().item() == pytest.approx(expected)


def test_average_precision_of_several_labels() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    # Hits at places 1 and 3.
    metric = metrics.average_precision_at_k(torch.tensor([[0, 2, 3]]), scores, 3)
    assert metric.compute().item() == pytest.approx((1 / 1 + 2 / 3) / 3)
    # A label given twice is one label, and so is one filled up with -1, or with an unknown class.
    for filler in (2, -1, 9):
        metric = metrics.average_precision_at_k(torch.tensor([[2, filler]]), scores, 3)
        assert metric.compute().item() == pytest.approx(1 / 3)


def test_example_without_labels_does_not_spoil_the_mean() -> None:
    labels, scores = torch.tensor([[-1, -1], [0, -1]]), torch.tensor([[0.1, 0.2], [0.9, 0.2]])
    assert metrics.average_precision_at_k(labels, scores, 1).compute().item() == 0.5
    assert metrics.recall_at_k(labels, scores, 1).compute().item() == 1.0
    weights = torch.tensor([0.0, 1.0])
    assert metrics.average_precision_at_k(labels, scores, 1, weights).compute().item() == 1.0


def test_unknown_class_is_missed() -> None:
    assert metrics.recall_at_k(torch.tensor([[0, 7]]), torch.tensor([[0.9, 0.2]]), 1).compute().item() == 0.5


def test_nothing_is_nan_as_in_tensorflow() -> None:
    labels, scores = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
    assert metrics.precision_at_k(labels, scores, 2).compute().isnan()
    assert metrics.recall_at_k(labels, scores, 2).compute().isnan()
    assert metrics.average_precision_at_k(labels, scores, 2).compute().item() == 0.0


def test_first_k_of_chosen_classes() -> None:
    labels, chosen = torch.tensor([2, 1]), torch.tensor([[2, 0, 1], [0, 2, 1]])
    for k, expected in ((1, 1 / 2), (2, 1 / 2), (3, 1.0), (None, 1.0)):
        assert metrics.recall_at_top_k(labels, chosen, k).compute().item() == expected
    assert metrics.precision_at_top_k(labels, chosen, 1).compute().item() == 0.5


def test_more_leading_dimensions() -> None:
    labels = torch.randint(0, 5, (3, 4, 2))
    scores = torch.rand(3, 4, 5)
    for function, k in itertools.product((metrics.precision_at_k, metrics.recall_at_k), (1, 3)):
        shaped = function(labels, scores, k, weights=torch.arange(3))
        flat = function(labels.reshape(12, 2), scores.reshape(12, 5), k, weights=torch.arange(3).repeat_interleave(4))
        torch.testing.assert_close(shaped.compute(), flat.compute())


def test_arguments_that_do_not_fit() -> None:
    labels, scores = torch.tensor([0, 1]), torch.rand(2, 4)
    for k in (0, 5):
        with pytest.raises(ValueError, match=rf"`k` must lie between 1 and the 4 predicted classes\. Received: k={k}"):
            metrics.precision_at_k(labels, scores, k)
    with pytest.raises(
        ValueError, match=r"`labels` must be \[batch\] or \[batch, labels\].*labels \[3\], predictions \[2, \.\.\.\]"
    ):
        metrics.recall_at_k(torch.tensor([0, 1, 2]), scores, 1)
    with pytest.raises(ValueError, match=r"labels \[2, 1, 1\], predictions \[2, \.\.\.\]"):
        metrics.recall_at_k(labels.reshape(2, 1, 1), scores, 1)
    with pytest.raises(TypeError, match=r"`labels` must be integer class ids.*torch.bool"):
        metrics.recall_at_k(torch.eye(4)[:2].bool(), scores, 1)
    with pytest.raises(TypeError, match=r"`predictions_idx` must be integer class ids.*torch.float32"):
        metrics.recall_at_top_k(labels, scores)
    with pytest.raises(ValueError, match=r"`predictions` must be scores of shape"):
        metrics.recall_at_k(labels, torch.tensor(0.5), 1)
    with pytest.raises(ValueError, match=r"`weights` must be a number"):
        metrics.recall_at_k(labels, scores, 1, weights=torch.ones(2, 4))
