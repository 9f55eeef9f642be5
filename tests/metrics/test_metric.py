"""The contract: batches, order and replicas do not matter, nothing is read in an update, and a graph can hold it."""

from collections.abc import Callable
from typing import Self

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchestimator import metrics
from torchestimator.metrics import Metric
from torchestimator.metrics.metric import accumulator_dtype, divide, pack_states, unpack_states

NUM_CLASSES = 4

Inputs = dict[str, Tensor]

# Every public function but mean_tensor, whose first dimension is no batch.
FUNCTIONS: dict[str, Callable[[Inputs, Tensor | None], Metric]] = {
    "accuracy": lambda x, w: metrics.accuracy(x["ids"], x["other_ids"], w),
    "binary_accuracy": lambda x, w: metrics.binary_accuracy(x["binary"], x["probability"], w),
    "precision": lambda x, w: metrics.precision(x["binary"], x["probability"], w),
    "recall": lambda x, w: metrics.recall(x["binary"], x["probability"], w),
    "true_positives": lambda x, w: metrics.true_positives(x["binary"], x["probability"], w),
    "false_positives": lambda x, w: metrics.false_positives(x["binary"], x["probability"], w),
    "true_negatives": lambda x, w: metrics.true_negatives(x["binary"], x["probability"], w),
    "false_negatives": lambda x, w: metrics.false_negatives(x["binary"], x["probability"], w),
    "auc roc": lambda x, w: metrics.auc(x["binary"], x["probability"], w),
    "auc pr": lambda x, w: metrics.auc(x["binary"], x["probability"], w, curve="PR"),
    "auc listed": lambda x, w: metrics.auc(x["binary"], x["probability"], w, thresholds=[0.3, 0.7]),
    "sensitivity": lambda x, w: metrics.sensitivity_at_specificity(x["binary"], x["probability"], 0.5, w),
    "specificity": lambda x, w: metrics.specificity_at_sensitivity(x["binary"], x["probability"], 0.5, w),
    "precisions": lambda x, w: metrics.precision_at_thresholds(x["binary"], x["probability"], [0.5, 0.2], w),
    "recalls": lambda x, w: metrics.recall_at_thresholds(x["binary"], x["probability"], [0.5, 0.2], w),
    "tp": lambda x, w: metrics.true_positives_at_thresholds(x["binary"], x["probability"], [0.5, 0.2], w),
    "fp": lambda x, w: metrics.false_positives_at_thresholds(x["binary"], x["probability"], [0.5, 0.2], w),
    "tn": lambda x, w: metrics.true_negatives_at_thresholds(x["binary"], x["probability"], [0.5, 0.2], w),
    "fn": lambda x, w: metrics.false_negatives_at_thresholds(x["binary"], x["probability"], [0.5, 0.2], w),
    "mean": lambda x, w: metrics.mean(x["real"], w),
    "percentage_below": lambda x, w: metrics.percentage_below(x["real"], 0.25, w),
    "mean_absolute_error": lambda x, w: metrics.mean_absolute_error(x["real"], x["other_real"], w),
    "mean_squared_error": lambda x, w: metrics.mean_squared_error(x["real"], x["other_real"], w),
    "root_mean_squared_error": lambda x, w: metrics.root_mean_squared_error(x["real"], x["other_real"], w),
    "mean_relative_error": lambda x, w: metrics.mean_relative_error(x["real"], x["other_real"], x["real"].abs(), w),
    "mean_cosine_distance": lambda x, w: metrics.mean_cosine_distance(x["scores"], x["scores"].flip(1), 1, w),
    "confusion_matrix": lambda x, w: metrics.confusion_matrix(x["ids"], x["other_ids"], NUM_CLASSES, w),
    "mean_iou": lambda x, w: metrics.mean_iou(x["ids"], x["other_ids"], NUM_CLASSES, w),
    "mean_per_class": lambda x, w: metrics.mean_per_class_accuracy(x["ids"], x["other_ids"], NUM_CLASSES, w),
    "precision_at_k": lambda x, w: metrics.precision_at_k(x["ids"], x["scores"], 2, weights=w),
    "precision_at_k class": lambda x, w: metrics.precision_at_k(x["ids"], x["scores"], 2, 1, w),
    "recall_at_k": lambda x, w: metrics.recall_at_k(x["ids"], x["scores"], 2, weights=w),
    "recall_at_k class": lambda x, w: metrics.recall_at_k(x["ids"], x["scores"], 2, 1, w),
    "precision_at_top_k": lambda x, w: metrics.precision_at_top_k(x["ids"], x["chosen"], weights=w),
    "recall_at_top_k": lambda x, w: metrics.recall_at_top_k(x["ids"], x["chosen"], weights=w),
    "average_precision_at_k": lambda x, w: metrics.average_precision_at_k(x["ids"], x["scores"], 2, w),
}


def make_inputs(num_examples: int, seed: int = 0) -> tuple[Inputs, Tensor]:
    """Examples with ties, with zeros, and with weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, (num_examples, *shape), generator=generator)

    inputs = {
        "ids": integers(NUM_CLASSES),
        "other_ids": integers(NUM_CLASSES),
        "binary": integers(2),
        "probability": integers(21) / 20,
        "real": integers(9) / 4 - 1,
        "other_real": torch.randn(num_examples, generator=generator),
        "scores": integers(5, NUM_CLASSES) / 3,
        "chosen": torch.stack([integers(2), integers(2) + 2], dim=1),
    }
    return inputs, integers(4) * torch.rand(num_examples, generator=generator)


def take(inputs: Inputs, weights: Tensor, rows: Tensor) -> tuple[Inputs, Tensor]:
    return {name: values[rows] for name, values in inputs.items()}, weights[rows]


@st.composite
def cut_batches(draw: st.DrawFn) -> tuple[int, list[Tensor], int]:
    """A number of examples, an order of them cut into batches (some may be empty), and a seed."""
    num_examples = draw(st.integers(0, 40))
    order = torch.tensor(draw(st.permutations(range(num_examples))), dtype=torch.int64)
    cuts = sorted(draw(st.lists(st.integers(0, num_examples), max_size=5)))
    return num_examples, list(torch.tensor_split(order, cuts)), draw(st.integers(0, 1000))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@given(data=cut_batches())
@settings(deadline=None, max_examples=15)
def test_value_does_not_depend_on_batches_order_or_replicas(
    weighted: bool, data: tuple[int, list[Tensor], int]
) -> None:
    num_examples, batches, seed = data
    inputs, weights = make_inputs(num_examples, seed)
    for name, function in FUNCTIONS.items():
        whole = function(inputs, weights if weighted else None).compute()
        pieces = []
        for rows in batches:
            batch, batch_weights = take(inputs, weights, rows)
            pieces.append(function(batch, batch_weights if weighted else None))
        vectors = [pack_states([piece], torch.device("cpu")) for piece in pieces]

        merged = pieces[0]
        for piece in pieces[1:]:
            assert merged.merge(piece) is merged
        torch.testing.assert_close(merged.compute(), whole, rtol=0, atol=1e-9, equal_nan=True, msg=name)

        reduced = pieces[-1]
        unpack_states([reduced], torch.stack(vectors).sum(0))
        torch.testing.assert_close(reduced.compute(), whole, rtol=0, atol=1e-9, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_update_reads_nothing_from_the_device(name: str) -> None:
    # Tensors without data: a host read, or a shape that depends on values, is an error.
    inputs, weights = make_inputs(6)
    on_meta = {key: values.to("meta") for key, values in inputs.items()}
    metric = FUNCTIONS[name](on_meta, weights.to("meta"))
    metric.merge(FUNCTIONS[name](on_meta, None))
    assert metric.state
    assert all(tensor.is_meta and tensor.dtype == torch.float64 for tensor in metric.state.values())


def test_update_compiles_as_one_graph_of_any_batch_size() -> None:
    def states(inputs: Inputs, weights: Tensor) -> dict[str, dict[str, Tensor]]:
        return {
            f"{name} {weighted}": function(inputs, weights if weighted else None).state
            for name, function in FUNCTIONS.items()
            for weighted in (False, True)
        }

    compiled = torch.compile(states, fullgraph=True, backend="eager", dynamic=True)
    for num_examples in (5, 8, 13):
        inputs, weights = make_inputs(num_examples)
        torch.testing.assert_close(compiled(inputs, weights), states(inputs, weights), rtol=1e-12, atol=0)


def test_compiled_model_fn_may_return_the_metric() -> None:
    def evaluate(labels: Tensor, predictions: Tensor, total: Metric) -> Metric:
        return total.merge(metrics.accuracy(labels, predictions))

    compiled = torch.compile(evaluate, fullgraph=True, backend="eager")
    total = metrics.accuracy(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]))
    result = compiled(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0]), total)
    assert result.compute().item() == pytest.approx(3 / 6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_metric_keeps_no_graph(name: str) -> None:
    inputs, weights = make_inputs(6)
    for key in ("probability", "real", "other_real", "scores"):
        inputs[key] = inputs[key].clone().requires_grad_()
    metric = FUNCTIONS[name](inputs, weights.requires_grad_())
    assert not any(tensor.requires_grad for tensor in metric.state.values())


def test_batches_of_inference_mode_merge_outside_of_it() -> None:
    inputs, weights = make_inputs(8)
    for function in FUNCTIONS.values():
        with torch.inference_mode():
            metric = function(inputs, weights)
            other = function(inputs, weights)
        metric.merge(other).merge(function(inputs, weights))
        unpack_states([metric], pack_states([metric], torch.device("cpu")))
        metric.merge(function(inputs, weights))


def test_same_object_again_is_left_as_it_is() -> None:
    metric = metrics.mean(torch.tensor([1.0, 3.0]))
    metric.update(torch.tensor([5.0]))
    assert metric.merge(metric).compute().item() == 3.0
    assert metric.state["count"].item() == 3


def test_release_forgets() -> None:
    metric = metrics.mean(torch.tensor([1.0, 3.0]))
    metric.release()
    assert metric.state == {}
    assert metric.update(torch.tensor([7.0])).compute().item() == 7.0


def test_merging_into_a_released_metric_takes_the_other() -> None:
    metric, other = metrics.mean(torch.tensor([1.0])), metrics.mean(torch.tensor([3.0]))
    metric.release()
    assert metric.merge(other).merge(metrics.mean(torch.tensor([5.0]))).compute().item() == 4.0
    assert other.compute().item() == 3.0
    other.release()
    assert metric.merge(other).compute().item() == 4.0


def test_merge_refuses_another_kind() -> None:
    with pytest.raises(TypeError, match=r"same kind of metric.*Mean.*Received: Sum"):
        metrics.mean(torch.ones(2)).merge(metrics.true_positives(torch.ones(2), torch.ones(2)))  # type: ignore[arg-type]


def test_merge_refuses_states_of_other_shapes() -> None:
    labels, predictions = torch.tensor([0, 1]), torch.tensor([0.2, 0.7])
    metric = metrics.auc(labels, predictions, num_thresholds=100)
    with pytest.raises(ValueError, match=r"`histogram`.*\[2, 104\].*Received: \[2, 204\]"):
        metric.merge(metrics.auc(labels, predictions))
    # A row of another length must not broadcast.
    with pytest.raises(ValueError, match=r"`total`.*\[3\].*Received: \[1\]"):
        metrics.mean_tensor(torch.ones(3)).merge(metrics.mean_tensor(torch.ones(1)))


class Range(Metric):
    """A metric of a user's own, over a polynomial of the values."""

    def update(self, values: Tensor, cubes: bool = False) -> Self:
        sums = {"total": values.double().sum(), "squares": values.double().square().sum()}
        return self.accumulate(**sums, **({"cubes": (values.double() ** 3).sum()} if cubes else {}))

    def compute(self) -> Tensor:
        return self.state["squares"] - self.state["total"]


def test_a_metric_of_ones_own() -> None:
    metric = Range().update(torch.tensor([1.0, 2.0])).merge(Range().update(torch.tensor([3.0])))
    assert metric.compute().item() == 14 - 6
    with pytest.raises(ValueError, match=r"keep its names.*\['squares', 'total'\].*\['cubes', 'squares', 'total'\]"):
        metric.update(torch.tensor([1.0]), cubes=True)


def test_states_of_all_metrics_travel_in_one_vector() -> None:
    inputs, weights = make_inputs(12)
    halves = [take(inputs, weights, rows) for rows in (torch.arange(5), torch.arange(5, 12))]
    replicas = [[function(*half) for function in FUNCTIONS.values()] for half in halves]
    total = torch.stack([pack_states(replica, torch.device("cpu")) for replica in replicas]).sum(0)
    assert total.ndim == 1
    for replica in replicas:
        unpack_states(replica, total)
        for metric, function in zip(replica, FUNCTIONS.values(), strict=True):
            whole = function(inputs, weights)
            assert {k: (v.shape, v.dtype) for k, v in metric.state.items()} == {
                k: (v.shape, v.dtype) for k, v in whole.state.items()
            }
            torch.testing.assert_close(metric.compute(), whole.compute(), rtol=0, atol=1e-9, equal_nan=True)


def test_no_metrics_pack_to_an_empty_vector() -> None:
    vector = pack_states([], torch.device("cpu"))
    assert vector.shape == (0,)
    unpack_states([], vector)


def test_sums_do_not_lose_single_examples() -> None:
    # In float32, 2**24 + 1 == 2**24.
    metric = metrics.mean(torch.zeros(1), weights=2.0**24)
    for _ in range(3):
        metric.merge(metrics.mean(torch.ones(1)))
    assert metric.compute().item() == pytest.approx(3 / (2**24 + 3), rel=1e-12)


def test_accumulator_dtype_of_devices() -> None:
    assert accumulator_dtype(torch.device("cpu")) == torch.float64
    assert accumulator_dtype(torch.device("cuda", 0)) == torch.float64
    assert accumulator_dtype(torch.device("mps")) == torch.float32


def test_divide() -> None:
    quotients = divide(torch.tensor([1.0, 0.0, float("nan")]), torch.tensor([0.0, 0.0, 1.0]), empty=-1.0)
    torch.testing.assert_close(quotients, torch.tensor([-1.0, -1.0, float("nan")]), equal_nan=True)
