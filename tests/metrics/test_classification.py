import pytest
import torch
from sklearn import metrics as sklearn_metrics

from torchestimator import metrics


def make_binary() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 2, (200,), generator=generator)
    probabilities = (labels * 0.2 + torch.rand(200, generator=generator) * 0.8).clamp(0, 1)
    return labels, probabilities, torch.rand(200, generator=generator)


@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learn_agrees(weighted: bool) -> None:
    labels, probabilities, weights = make_binary()
    decisions = (probabilities > 0.5).long()
    sample_weight = weights.numpy() if weighted else None
    given = weights if weighted else None
    for ours, theirs in (
        (metrics.accuracy, sklearn_metrics.accuracy_score),
        (metrics.precision, sklearn_metrics.precision_score),
        (metrics.recall, sklearn_metrics.recall_score),
    ):
        value = ours(labels, decisions, given).compute().item()
        assert value == pytest.approx(theirs(labels.numpy(), decisions.numpy(), sample_weight=sample_weight))
    matrix = sklearn_metrics.confusion_matrix(labels.numpy(), decisions.numpy(), sample_weight=sample_weight)
    counts = [
        [metrics.true_negatives(labels, probabilities, given), metrics.false_positives(labels, probabilities, given)],
        [metrics.false_negatives(labels, probabilities, given), metrics.true_positives(labels, probabilities, given)],
    ]
    values = torch.tensor([[count.compute() for count in row] for row in counts])
    torch.testing.assert_close(values, torch.from_numpy(matrix).to(values.dtype), rtol=1e-6, atol=0)


def test_accuracy_converts_predictions_to_the_dtype_of_the_labels() -> None:
    # As TensorFlow: 0.9 becomes class 0.
    assert metrics.accuracy(torch.tensor([0, 1]), torch.tensor([0.9, 1.0])).compute().item() == 1.0


def test_a_prediction_on_the_threshold_is_negative() -> None:
    labels, predictions = torch.tensor([1, 1]), torch.tensor([0.5, 0.6])
    assert metrics.true_positives(labels, predictions).compute().item() == 1
    assert metrics.binary_accuracy(labels, predictions).compute().item() == 0.5
    assert metrics.recall(labels, predictions, threshold=0.6).compute().item() == 0.0
    assert metrics.recall(labels, predictions.bfloat16(), threshold=0.4).compute().item() == 1.0


def test_empty_ratios_are_zero() -> None:
    assert metrics.precision(torch.tensor([1, 0]), torch.tensor([0, 0])).compute().item() == 0.0
    assert metrics.recall(torch.tensor([0, 0]), torch.tensor([1, 0])).compute().item() == 0.0
    assert metrics.accuracy(torch.zeros(0), torch.zeros(0)).compute().item() == 0.0


@pytest.mark.parametrize("threshold", [-0.1, 1.5, 50])
def test_threshold_outside_the_probabilities(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"`threshold` must lie between 0 and 1\. Received: threshold={threshold}"):
        metrics.precision(torch.zeros(2), torch.zeros(2), threshold=threshold)
