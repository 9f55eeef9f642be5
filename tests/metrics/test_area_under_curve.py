import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from torchestimator import metrics


def make_binary(num_examples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    labels = torch.randint(0, 2, (num_examples,), generator=generator)
    probabilities = (labels * 0.3 + torch.rand(num_examples, generator=generator) * 0.7).clamp(0, 1)
    return labels, probabilities, torch.rand(num_examples, generator=generator)


@pytest.mark.parametrize("weighted", [False, True])
def test_many_thresholds_approach_the_exact_area(weighted: bool) -> None:
    labels, probabilities, weights = make_binary(400)
    given_weights, sample_weight = (weights, weights.numpy()) if weighted else (None, None)
    exact = sklearn_metrics.roc_auc_score(labels.numpy(), probabilities.numpy(), sample_weight=sample_weight)
    areas = [metrics.auc(labels, probabilities, given_weights, num_thresholds=n).compute().item() for n in (20, 200000)]
    assert areas[1] == pytest.approx(exact, abs=1e-4)
    assert abs(areas[1] - exact) < abs(areas[0] - exact)
    precision = sklearn_metrics.average_precision_score(
        labels.numpy(), probabilities.numpy(), sample_weight=sample_weight
    )
    area = metrics.auc(labels, probabilities, given_weights, num_thresholds=20000, curve="PR").compute().item()
    assert area == pytest.approx(precision, abs=5e-3)


@given(seed=st.integers(0, 1000), num_thresholds=st.integers(2, 30), curve=st.sampled_from(["ROC", "PR"]))
@settings(deadline=None, max_examples=40)
def test_rectangles_bound_the_area(seed: int, num_thresholds: int, curve: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels, probabilities = torch.randint(0, 2, (30,), generator=generator), torch.rand(30, generator=generator)
    below, between, above = (
        metrics.auc(labels, probabilities, num_thresholds=num_thresholds, curve=curve, summation_method=method)
        .compute()
        .item()
        for method in ("minoring", "interpolation" if curve == "ROC" else "careful_interpolation", "majoring")
    )
    slack = 1e-9
    assert 0 <= below <= above + slack <= 1 + 2 * slack
    if curve == "ROC":
        assert below - slack <= between <= above + slack


@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone(curve: str, label: int) -> None:
    labels, probabilities = torch.full((4,), label), torch.tensor([0.1, 0.4, 0.6, 0.9])
    # No ROC curve without both classes; a precision of 1 with positives alone.
    expected = 1.0 if curve == "PR" and label == 1 else 0.0
    assert metrics.auc(labels, probabilities, curve=curve).compute().item() == pytest.approx(expected)


def test_perfect_and_reversed_order() -> None:
    labels, probabilities = torch.tensor([0, 0, 1, 1]), torch.tensor([0.0, 0.2, 0.8, 1.0])
    assert metrics.auc(labels, probabilities).compute().item() == 1.0
    assert metrics.auc(1 - labels, probabilities).compute().item() == 0.0
    assert metrics.auc(labels, probabilities, curve="PR").compute().item() == pytest.approx(1.0)


def test_nothing_is_zero() -> None:
    for curve in ("ROC", "PR"):
        assert metrics.auc(torch.zeros(0), torch.zeros(0), curve=curve).compute().item() == 0.0


def test_classes_are_counted_together() -> None:
    labels, probabilities, weights = make_binary(60)
    flat = metrics.auc(labels, probabilities, weights).compute()
    shaped = metrics.auc(labels.reshape(20, 3), probabilities.reshape(20, 3), weights.reshape(20, 3)).compute()
    torch.testing.assert_close(shaped, flat)
    per_example = metrics.auc(labels.reshape(20, 3), probabilities.reshape(20, 3), weights[:20]).compute()
    repeated = metrics.auc(labels, probabilities, weights[:20].repeat_interleave(3)).compute()
    torch.testing.assert_close(per_example, repeated)


def test_state_does_not_grow() -> None:
    sizes = set()
    for num_examples in (10, 1000):
        labels, probabilities, _ = make_binary(num_examples)
        metric = metrics.auc(labels, probabilities)
        sizes.add(sum(tensor.numel() for tensor in metric.state.values()))
    assert sizes == {2 * 204}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curve": "roc"}, r"`curve` must be \"ROC\" or \"PR\"\. Received: curve='roc'"),
        ({"summation_method": "simpson"}, r"`summation_method` must be one of \"interpolation\".*'simpson'"),
        ({"num_thresholds": 1}, r"`num_thresholds` must be at least 2\. Received: num_thresholds=1"),
        ({"thresholds": [0.5, 2.0]}, r"`thresholds` must be one or more numbers between 0 and 1"),
    ],
)
def test_arguments_that_are_not_allowed(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.auc(torch.zeros(2), torch.zeros(2), **options)  # type: ignore[arg-type]
