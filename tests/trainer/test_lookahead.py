"""A stream that reads one batch further than it gives out."""

import pytest
import torch

from torchestimator.strategy.strategy import Batch
from torchestimator.trainer.first_batch import FirstBatch
from torchestimator.trainer.lookahead import Lookahead


class Counting:
    """Batches of their own number; may fail at one."""

    wait_secs = 1.5

    def __init__(self, count, fails_at=None):
        self.read = 0
        self.count = count
        self.fails_at = fails_at
        self.closed = False

    def __next__(self):
        if self.read == self.fails_at:
            raise OSError("the disk is gone")
        if self.read == self.count:
            raise StopIteration
        self.read += 1
        return Batch({"x": torch.tensor([self.read])}, None, {})

    def state_dict(self):
        return {"read": self.read, "exhausted": self.read == self.count}

    def close(self):
        self.closed = True


def number(batch):
    return int(batch.features["x"])


def test_batches_and_positions_are_those_of_the_stream():
    source = Counting(4)
    stream = Lookahead(source)
    assert (stream.state_dict()["read"], source.read) == (0, 1)
    for expected in range(1, 5):
        assert number(next(stream)) == expected
        assert stream.state_dict()["read"] == expected
        assert source.read == min(expected + 1, 4)
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.state_dict() == {"read": 4, "exhausted": True}
    assert stream.wait_secs == 1.5
    stream.close()
    assert source.closed


def test_an_empty_stream_is_empty():
    with pytest.raises(StopIteration):
        Lookahead(Counting(0))


def test_a_failure_is_known_one_batch_earlier_and_raised_in_its_place():
    stream = FirstBatch(Lookahead(Counting(9, fails_at=3)), True)
    assert [number(next(stream)) for _ in range(2)] == [1, 2]
    assert stream.failure is None
    assert number(next(stream)) == 3
    assert isinstance(stream.failure, OSError)
    assert stream.state_dict()["read"] == 3
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)
    assert stream.state_dict()["read"] == 3
