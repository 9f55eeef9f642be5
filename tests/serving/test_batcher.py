import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.exports import COLORS, write_export
from torchestimator.export.loader import load
from torchestimator.serving.batcher import Backlog, Batcher
from torchestimator.serving.metrics import ServerMetrics
from torchestimator.serving.request_error import RequestError
from torchestimator.serving.worker_threads import WorkerThreads


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return load(write_export(tmp_path_factory.mktemp("exports"), 1), num_threads=1)


def compute(signature, requests, max_rows=64, timeout_secs=0.0, limit=1000, num_threads=1):
    """Results or errors of concurrent requests, and the sizes of the batches that were computed."""
    metrics = ServerMetrics()
    workers = WorkerThreads(num_threads)
    backlog = Backlog(limit, metrics)
    batcher = Batcher(signature, "m", workers, backlog, metrics, max_rows, timeout_secs)

    async def all_at_once():
        return await asyncio.gather(
            *(batcher.compute(signature.check(inputs), outputs) for inputs, outputs in requests), return_exceptions=True
        )

    try:
        results = asyncio.run(all_at_once())
    finally:
        workers.close()
    with backlog:  # all of them have left it
        assert b"torchestimator_queue_requests 1.0" in metrics.text()
    return results, number(metrics, "torchestimator_batch_rows_count"), number(metrics, "torchestimator_batch_rows_sum")


def number(metrics, name):
    lines = [line for line in metrics.text().decode().splitlines() if line.startswith(f'{name}{{model="m"}}')]
    return float(lines[0].split()[-1]) if lines else 0


ROWS = st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.sampled_from(COLORS)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=30)
@given(requests=st.lists(ROWS, min_size=1, max_size=12), max_rows=st.integers(1, 8), num_threads=st.integers(1, 3))
def test_results_are_those_of_requests_computed_alone(export, requests, max_rows, num_threads):
    signature = export["serving_default"]
    features = [{"price": [[price] for price, _ in rows], "color": [[color] for _, color in rows]} for rows in requests]
    results, batches, rows = compute(signature, [(each, None) for each in features], max_rows, num_threads=num_threads)
    for each, result in zip(features, results, strict=True):
        alone = signature(each)
        assert result.keys() == alone.keys()
        for key in alone:
            np.testing.assert_array_equal(result[key], alone[key])
    assert rows == sum(map(len, requests))
    if max_rows == 1:
        assert batches == len(requests)


def test_concurrent_requests_are_computed_together(export):
    requests = [({"x": [[float(i)]]}, None) for i in range(20)]
    results, batches, rows = compute(export["regression"], requests, max_rows=8)
    assert [float(each["outputs"][0, 0]) for each in results] == [2.0 * i for i in range(20)]
    assert (batches, rows) == (3, 20)


def test_a_batch_is_started_when_it_is_full_however_long_others_could_be_waited_for(export):
    requests = [({"x": [[float(i)]]}, None) for i in range(8)]
    results, batches, _ = compute(export["regression"], requests, max_rows=8, timeout_secs=3600)
    assert len(results) == 8
    assert batches == 1


def test_a_request_larger_than_a_batch_is_computed_alone(export):
    requests = [({"x": np.ones((rows, 1), "float32")}, None) for rows in (1, 100, 2)]
    results, batches, _ = compute(export["regression"], requests, max_rows=8)
    assert [len(each["outputs"]) for each in results] == [1, 100, 2]
    assert batches == 2


def test_requests_of_other_shapes_are_not_put_together(export):
    requests = [({"tokens": np.ones((1, length), "int64")}, None) for length in (2, 3, 2, 3, 5)]
    results, batches, _ = compute(export["tokens"], requests)
    assert [int(each["sums"][0, 0]) for each in results] == [2, 3, 2, 3, 5]
    assert batches == 3


def test_a_request_that_fails_does_not_fail_those_computed_with_it(export):
    colors = ["red", "nonexistent", "blue"]
    requests = [({"price": [[1.0]], "color": [[color]]}, None) for color in colors]
    (first, second, third), batches, _ = compute(export["serving_default"], requests)
    assert batches == 1
    assert first["total"].tolist() == [[1.0]]
    assert third["total"].tolist() == [[21.0]]
    assert isinstance(second, Exception)
    assert "indices" in str(second)


def test_requests_for_different_outputs_are_computed_together(export):
    features = {"price": [[1.0]], "color": [["green"]]}
    wanted = [["total"], ["label"], ["label", "total"], None]
    results, batches, _ = compute(export["serving_default"], [(features, each) for each in wanted])
    assert batches == 1
    assert [list(each) for each in results] == [["total"], ["label"], ["label", "total"], ["total", "label"]]
    assert results[1]["label"].tolist() == [["green"]]


def test_requests_beyond_the_limit_are_told_to_come_back(export):
    requests = [({"x": [[1.0]]}, None)] * 5
    results, _, rows = compute(export["regression"], requests, limit=2)
    refused = [each for each in results if isinstance(each, RequestError)]
    assert rows == 2
    assert len(refused) == 3
    assert {each.status for each in refused} == {503}
    assert "again later" in refused[0].message
