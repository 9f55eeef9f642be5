"""The contract of inputs: what a source gets without doing anything for it."""

from torchestimator.inputs.iterator import InputIterator, is_exhausted


class Countdown(InputIterator):
    def __init__(self, count):
        self.count = count

    def __next__(self):
        if self.count == 0:
            raise StopIteration
        self.count -= 1
        return self.count, None


def test_a_source_needs_nothing_but_next():
    source = Countdown(2)
    assert not source.in_memory
    assert source.runs_ahead
    assert source.state_dict() is None
    assert list(source) == [(1, None), (0, None)]
    source.close()


def test_without_a_position_only_the_end_can_be_gone_on_from():
    assert Countdown(1).load_state_dict(None) is False
    assert Countdown(1).load_state_dict({"item": 3}) is False
    assert Countdown(1).load_state_dict({"exhausted": True}) is True


def test_the_end_is_told_by_its_flag():
    assert is_exhausted({"exhausted": True, "row": 3})
    assert not is_exhausted({"row": 3})
    assert not is_exhausted({"exhausted": False})
