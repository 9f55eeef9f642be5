"""A batch looked at early, and positions of batches that were not used."""

import pytest

from torchestimator.inputs.iterator import InputIterator
from torchestimator.inputs.prefetch import InlineBatches
from torchestimator.trainer.first_batch import FirstBatch


class Numbers(InputIterator):
    """0, 1, 2, ..., up to a count; the position is the next number."""

    def __init__(self, count):
        self.count = count
        self.next = 0
        self.asked = 0
        self.closed = 0

    def __next__(self):
        if self.next == self.count:
            raise StopIteration
        self.next += 1
        return self.next - 1, None

    def state_dict(self):
        self.asked += 1
        return {"next": self.next}

    def close(self):
        self.closed += 1


def stream(count, tells_every_position=True):
    source = Numbers(count)
    return source, FirstBatch(InlineBatches(source, lambda raw: raw[0]), tells_every_position)


def test_the_first_batch_is_given_out_again():
    _, batches = stream(3)
    assert batches.first == 0
    assert batches.first == 0
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(batches)


def test_an_empty_stream_says_so_at_once():
    with pytest.raises(StopIteration):
        stream(0)


@pytest.mark.parametrize("tells_every_position", [True, False])
def test_the_position_is_behind_the_batches_that_were_given_out(tells_every_position):
    _, batches = stream(3, tells_every_position)
    for expected in range(3):
        assert batches.state_dict() == {"next": expected}
        assert next(batches) == expected
    assert batches.state_dict() == {"next": 3}


def test_a_batch_whose_step_failed_does_not_count():
    _, batches = stream(5)
    for _ in range(3):
        next(batches)
    batches.take_back()
    assert batches.state_dict() == {"next": 2}


def test_the_first_batch_may_fail_and_the_end_may_be_waited_for():
    _, batches = stream(1)
    next(batches)
    batches.take_back()
    assert batches.state_dict() == {"next": 0}
    _, batches = stream(1)
    next(batches)
    assert next(batches, None) is None
    batches.take_back()
    assert batches.state_dict() == {"next": 1}


def test_where_positions_are_dear_they_are_asked_for_at_checkpoints_only():
    source, batches = stream(9, tells_every_position=False)
    asked = source.asked
    for _ in range(5):
        next(batches)
    assert source.asked == asked
    batches.take_back()
    assert batches.state_dict() == {"next": 5}


def test_closing_and_waiting_are_those_of_the_stream():
    source, batches = stream(2)
    next(batches)
    next(batches)
    assert batches.wait_secs > 0
    batches.close()
    assert source.closed == 1
