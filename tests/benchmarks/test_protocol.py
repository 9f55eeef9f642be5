"""The contenders that need no other environment answer the harness."""

import pytest

from tests.benchmarks.contender import Contender, Worker


@pytest.mark.parametrize("module", ["bare", "estimator"])
def test_a_contender_answers_each_request_with_a_number(module, tmp_path):
    with Worker(Contender(module, "train"), tmp_path) as worker:
        assert worker.go(2) > 0
        assert worker.go(2) > 0


def test_calls_are_counted_exactly(tmp_path):
    with Worker(Contender("estimator", "count_calls"), tmp_path) as worker:
        assert worker.go(2) == worker.go(2) > 1


def test_a_contender_that_dies_is_reported_with_its_last_words(tmp_path):
    with (
        pytest.raises(RuntimeError, match="KeyError: 'knitting'"),
        Worker(Contender("bare", "knitting"), tmp_path) as worker,
    ):
        worker.go(2)
