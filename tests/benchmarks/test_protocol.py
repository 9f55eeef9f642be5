"""The contenders that need no other environment answer the harness."""

import pytest

from tests.benchmarks.contender import Contender, Worker
from tests.benchmarks.contenders.models import MODELS


@pytest.mark.parametrize("module", ["bare", "estimator"])
def test_a_contender_answers_each_request_with_a_number(module, tmp_path):
    with Worker(Contender(module, "train"), tmp_path) as worker:
        assert worker.go(2) > 0
        assert worker.go(2) > 0


@pytest.mark.parametrize("model", MODELS)
def test_each_model_learns(model, tmp_path):
    with Worker(Contender("estimator_models", f"train {model}"), tmp_path) as worker:
        assert worker.go(1) > 0


@pytest.mark.parametrize("module", ["bare_models", "estimator_models"])
def test_peak_memory_is_that_of_a_process_with_torch(module, tmp_path):
    with Worker(Contender(module, "remember MLP"), tmp_path) as worker:
        assert 50e6 < worker.go(1) < 5e9


def test_calls_are_counted_exactly(tmp_path):
    with Worker(Contender("estimator", "count_calls"), tmp_path) as worker:
        assert worker.go(2) == worker.go(2) > 1


def test_a_contender_that_dies_is_reported_with_its_last_words(tmp_path):
    with (
        pytest.raises(RuntimeError, match="KeyError: 'knitting'"),
        Worker(Contender("bare", "knitting"), tmp_path) as worker,
    ):
        worker.go(2)
