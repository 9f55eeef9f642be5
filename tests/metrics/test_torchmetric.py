"""Real torchmetrics objects in the evaluation loop, made for every batch or kept, in one process and in two."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, MulticlassF1Score
from torchmetrics.image import PeakSignalNoiseRatio
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef

from torchestimator import metrics
from torchestimator.metrics.metric import Metric, pack_states, unpack_states
from torchestimator.metrics.torchmetric import TorchMetric, as_metric

CPU = torch.device("cpu")

# How to make each, whether all its states are sums, and whether two objects can be merged.
KINDS: dict[str, tuple[Callable[[], torchmetrics.Metric], bool]] = {
    "accuracy": (BinaryAccuracy, True),
    "f1": (lambda: MulticlassF1Score(num_classes=3, average="macro"), True),
    "squared error": (MeanSquaredError, True),
    "binned auroc": (lambda: BinaryAUROC(thresholds=20), True),
    "exact auroc": (BinaryAUROC, False),
    "samplewise accuracy": (lambda: BinaryAccuracy(multidim_average="samplewise"), False),
    "mean": (torchmetrics.MeanMetric, True),
}


def arguments(name: str, rows: slice) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(9)
    scores = torch.rand(30, generator=generator)
    binary = torch.randint(0, 2, (30,), generator=generator)
    classes = torch.randint(0, 3, (30, 2), generator=generator)
    if name == "samplewise accuracy":
        return scores.unsqueeze(1)[rows], binary.unsqueeze(1)[rows]
    if name == "f1":
        return classes[rows, 0], classes[rows, 1]
    if name == "squared error":
        return scores[rows], scores.roll(1)[rows]
    return (scores[rows],) if name == "mean" else (scores[rows], binary[rows])


BATCHES = [slice(0, 12), slice(12, 13), slice(13, 30)]


def expected_value(name: str) -> Tensor:
    metric = KINDS[name][0]()
    metric.update(*arguments(name, slice(0, 30)))
    value = metric.compute()
    assert isinstance(value, Tensor)
    return value


def in_any_order(value: Tensor) -> Tensor:
    return value.sort().values if value.ndim else value


def evaluate(values: list[Any]) -> Metric:
    """What the evaluation loop does with the values model_fn returns batch by batch."""
    kept = as_metric(values[0], "name")
    for value in values[1:]:
        kept.merge(as_metric(value, "name"))
    return kept


@pytest.mark.parametrize("name", KINDS)
def test_new_object_for_every_batch(name: str) -> None:
    objects = []
    for rows in BATCHES:
        metric = KINDS[name][0]()
        metric.update(*arguments(name, rows))
        objects.append(metric)
    # A value computed by model_fn, to log it, must not be taken for the final one.
    objects[0].compute()
    value = evaluate(objects).compute()
    torch.testing.assert_close(in_any_order(value), in_any_order(expected_value(name)))


@pytest.mark.parametrize("name", KINDS)
def test_one_object_for_all_batches_and_evaluations(name: str) -> None:
    metric = KINDS[name][0]()
    for _ in range(2):
        kept: Metric | None = None
        for rows in BATCHES:
            metric.update(*arguments(name, rows))
            batch = as_metric(metric, name)
            kept = batch if kept is None else kept.merge(batch)
        assert kept is not None
        torch.testing.assert_close(in_any_order(kept.compute()), in_any_order(expected_value(name)))
        kept.release()
        assert not metric.update_called


@pytest.mark.parametrize("name", KINDS)
def test_object_kept_from_the_second_batch_on(name: str) -> None:
    first, second = KINDS[name][0](), KINDS[name][0]()
    kept: Metric | None = None
    for metric, rows in zip((first, second, second), BATCHES, strict=True):
        metric.update(*arguments(name, rows))
        batch = as_metric(metric, name)
        kept = batch if kept is None else kept.merge(batch)
    assert kept is not None
    torch.testing.assert_close(in_any_order(kept.compute()), in_any_order(expected_value(name)))


def test_composed_metrics_work_kept_and_are_refused_new() -> None:
    def make() -> torchmetrics.Metric:
        composed = MeanSquaredError() + MeanSquaredError()
        assert isinstance(composed, torchmetrics.Metric)
        return composed

    metric = make()
    kept: Metric | None = None
    for rows in BATCHES:
        metric.update(*arguments("squared error", rows))
        batch = as_metric(metric, "name")
        kept = batch if kept is None else kept.merge(batch)
    assert kept is not None
    assert kept.state == {}
    torch.testing.assert_close(kept.compute(), 2 * expected_value("squared error"))

    new = [make(), make()]
    for metric, rows in zip(new, BATCHES, strict=False):
        metric.update(*arguments("squared error", rows))
    with pytest.raises(RuntimeError, match=r"Two CompositionalMetric objects cannot be merged.*Make it once outside"):
        evaluate(new)


def test_objects_that_torchmetrics_would_merge_wrongly_are_refused() -> None:
    # The data range of the first is merged by a mean that drops one side.
    makers: list[Callable[[], torchmetrics.Metric]] = [lambda: PeakSignalNoiseRatio(data_range=1.0), PearsonCorrCoef]
    for make in makers:
        objects = [make(), make()]
        for metric, rows in zip(objects, BATCHES[::2], strict=True):
            metric.update(*arguments("squared error", rows))
        with pytest.raises(RuntimeError, match="cannot be merged"):
            evaluate(objects)


def test_a_merge_of_its_own_is_trusted() -> None:
    class LastBatch(torchmetrics.Metric):
        full_state_update = True
        value: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.add_state("value", torch.tensor(0.0), dist_reduce_fx=None)

        def update(self, values: Tensor) -> None:
            self.value = values.mean()

        def compute(self) -> Tensor:
            return self.value

        def merge_state(self, incoming_state: Any) -> None:
            self.value = incoming_state.value

    objects = [LastBatch(), LastBatch()]
    for metric, number in zip(objects, (1.0, 5.0), strict=True):
        metric.update(torch.tensor([number]))
    assert evaluate(objects).compute().item() == 5.0


@pytest.mark.parametrize("name", KINDS)
def test_sums_travel_in_the_vector_of_all_metrics(name: str) -> None:
    make, is_additive = KINDS[name]
    replicas = []
    for rows in (slice(0, 12), slice(12, 30)):
        metric = make()
        metric.update(*arguments(name, rows))
        metric.compute()
        replicas.append([as_metric(metric, name), metrics.mean(torch.ones(3))])
    assert bool(replicas[0][0].state) is is_additive
    if is_additive:
        dtypes = {key: tensor.dtype for key, tensor in replicas[0][0].state.items()}
        total = torch.stack([pack_states(replica, CPU) for replica in replicas]).sum(0)
        unpack_states(replicas[0], total)
        assert {key: tensor.dtype for key, tensor in replicas[0][0].state.items()} == dtypes
        torch.testing.assert_close(replicas[0][0].compute(), expected_value(name))
        assert replicas[0][1].state["count"].item() == 6


def test_sums_are_not_communicated_a_second_time() -> None:
    # Told that it is distributed, torchmetrics would start a collective, and fail without a process group.
    metric = BinaryAccuracy(distributed_available_fn=_yes)
    metric.update(*arguments("accuracy", slice(0, 30)))
    adapter = as_metric(metric, "accuracy")
    torch.testing.assert_close(adapter.compute(), expected_value("accuracy"))
    assert metric.distributed_available_fn is _yes


def _yes() -> bool:
    return True


TWO_PROCESSES = """
    import sys
    import torch, torch.distributed as dist
    from torchestimator import metrics
    from torchestimator.metrics.metric import pack_states, unpack_states
    from torchestimator.metrics.torchmetric import as_metric

    try:
        as_metric(torch.ones(1), "name")
    except TypeError:
        assert "torchmetrics" not in sys.modules

    from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

    rank, store = int(sys.argv[1]), dist.FileStore(sys.argv[2], 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    scores = torch.tensor([0.9, 0.2, 0.4, 0.7, 0.6, 0.1, 0.8])
    labels = torch.tensor([1, 0, 1, 0, 1, 0, 1])
    rows = slice(0, 2) if rank == 0 else slice(2, 7)

    def updated(metric):
        metric.update(scores[rows], labels[rows])
        return as_metric(metric, "name")

    all_metrics = [
        updated(BinaryAccuracy()),
        updated(BinaryAUROC()),
        metrics.auc(labels[rows], scores[rows]),
        metrics.mean(scores[rows]),
    ]
    vector = pack_states(all_metrics, torch.device("cpu"))
    dist.all_reduce(vector)
    unpack_states(all_metrics, vector)
    print(*(f"{metric.compute().item():.9f}" for metric in all_metrics))
    dist.destroy_process_group()
"""


def test_two_processes_compute_the_value_of_one(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(TWO_PROCESSES)]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    # 5 of 7 right at 0.5; 10 of 12 pairs in order; the thresholds separate all scores.
    expected = [5 / 7, 10 / 12, 10 / 12, 3.7 / 7]
    for output in outputs:
        assert [float(number) for number in output] == pytest.approx(expected, abs=1e-6)


def test_metrics_of_this_package_pass_through() -> None:
    metric = metrics.mean(torch.ones(1))
    assert as_metric(metric, "mean") is metric
    torch_metric = as_metric(_updated(MeanSquaredError()), "mse")
    assert isinstance(torch_metric, TorchMetric)
    again = as_metric(torch_metric, "mse")
    assert isinstance(again, TorchMetric)
    assert again.metric is torch_metric.metric


def test_adapter_updates_like_any_metric() -> None:
    adapter = TorchMetric(MeanSquaredError())
    for rows in BATCHES:
        assert adapter.update(*arguments("squared error", rows)) is adapter
    torch.testing.assert_close(adapter.compute(), expected_value("squared error"))


def _updated(metric: torchmetrics.Metric) -> torchmetrics.Metric:
    metric.update(torch.tensor([0.2, 0.9]), torch.tensor([0, 1]))
    return metric


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor(0.5), r"Received: tensor of shape \[\].*te\.metrics\.mean\(value\).*torchmetrics"),
        (torch.ones(2, 3), r"Received: tensor of shape \[2, 3\]"),
        ((torch.tensor(0.5), None), r"Received: tuple.*no \(value, update_op\) pairs.*te\.metrics\.mean\(value\)"),
        (0.5, r"Received: float.*te\.metrics\.mean\(value\)"),
        ("accuracy", r"Received: str.*te\.metrics\.accuracy\(labels, class_ids\)"),
        (None, r"Received: NoneType"),
        (metrics.accuracy, r"Received: function"),
        (
            torchmetrics.MetricCollection([BinaryAccuracy()]),
            r"Received: MetricCollection.*eval_metric_ops=\{\*\*collection\}",
        ),
    ],
)
def test_anything_else_is_refused_with_the_corrected_line(value: object, message: str) -> None:
    with pytest.raises(TypeError, match=r'`eval_metric_ops\["quality"\]` must be a metric.*' + message):
        as_metric(value, "quality")


def test_collection_taken_apart_as_advised() -> None:
    collection = torchmetrics.MetricCollection([BinaryAccuracy(), BinaryAUROC(thresholds=20)])
    kept: dict[str, Metric] = {}
    for rows in BATCHES:
        collection.update(*arguments("accuracy", rows))
        metric_ops: dict[str, Any] = {**collection}  # type: ignore[dict-item]
        for name, metric in metric_ops.items():
            adapter = as_metric(metric, name)
            kept[name] = kept[name].merge(adapter) if name in kept else adapter
    torch.testing.assert_close(kept["BinaryAccuracy"].compute(), expected_value("accuracy"))
    torch.testing.assert_close(kept["BinaryAUROC"].compute(), expected_value("binned auroc"))


def test_metric_that_has_not_seen_the_batch() -> None:
    with pytest.raises(ValueError, match=r'`eval_metric_ops\["acc"\]` has not seen the batch.*never updated'):
        as_metric(BinaryAccuracy(), "acc")
    with pytest.raises(
        ValueError, match=r"has not seen the batch. Write: Mean\(\.\.\.\)\.update\(labels, predictions\)"
    ):
        as_metric(metrics.Mean(), "mean")


def test_other_kind_under_the_same_name() -> None:
    kept = as_metric(_updated(BinaryAccuracy()), "name")
    with pytest.raises(TypeError, match=r"same kind of metric.*BinaryAccuracy.*Received: MeanSquaredError"):
        kept.merge(as_metric(_updated(MeanSquaredError()), "name"))
    with pytest.raises(TypeError, match=r"same kind of metric.*BinaryAccuracy.*Received: Mean\."):
        kept.merge(metrics.mean(torch.ones(1)))
    with pytest.raises(TypeError, match=r"same kind of metric.*Mean.*Received: TorchMetric"):
        metrics.mean(torch.ones(1)).merge(kept)  # type: ignore[arg-type]


def test_value_that_is_no_tensor() -> None:
    class Plain(BinaryAccuracy):
        def compute(self) -> float:  # type: ignore[override]
            return 0.25

    class Several(BinaryAccuracy):
        def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
            return {"a": torch.tensor(1.0)}

    assert as_metric(_updated(Plain()), "name").compute().item() == 0.25
    with pytest.raises(TypeError, match=r"must compute one tensor\. Received: dict from Several"):
        as_metric(_updated(Several()), "name").compute()
