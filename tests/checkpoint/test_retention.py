"""retention: the rule of `keep_checkpoint_max` and `keep_checkpoint_every_n_hours`, without any file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.checkpoint.index import CheckpointIndex, IndexEntry
from torchestimator.checkpoint.retention import adopt_survivors, retire

_HOUR = 3600.0


def _entry(step: int, hours: float = 0.0) -> IndexEntry:
    return IndexEntry(f"model.ckpt-{step}", f"/nowhere/model.ckpt-{step}", hours * _HOUR)


def _train(
    hours: list[float], keep_max: int | None, every_n_hours: float, index: CheckpointIndex | None = None, first: int = 0
) -> CheckpointIndex:
    """Saves at each of `hours` and retires after each."""
    index = index or CheckpointIndex()
    for step, hour in enumerate(hours, first):
        index = index.with_saved(_entry(step, hour))
        index, _ = retire(index, keep_max, every_n_hours, lambda entry: True)
    return index


def _steps(index: CheckpointIndex) -> list[int]:
    return [int(entry.name.split("-")[1]) for entry in index.entries]


@pytest.mark.parametrize(("keep_max", "expected"), [(3, [7, 8, 9]), (1, [9]), (0, [*range(10)]), (None, [*range(10)])])
def test_the_newest_stay_and_none_or_zero_keeps_and_lists_all(keep_max: int | None, expected: list[int]) -> None:
    assert _steps(_train([0.0] * 10, keep_max, 10000.0)) == expected


def test_one_more_stays_for_each_period() -> None:
    index = _train([step * 0.5 for step in range(20)], 2, 2.0)
    assert _steps(index) == [4, 8, 12, 16, 18, 19]
    assert index.kept == {f"model.ckpt-{step}" for step in (4, 8, 12, 16)}


def test_a_pause_of_days_does_not_keep_everything_after_it() -> None:
    index = _train([0.0, 0.5, 1.0, *(100.0 + step * 0.5 for step in range(8))], 1, 2.0)
    assert sorted(index.kept) == ["model.ckpt-3", "model.ckpt-7"]


@settings(deadline=None)
@given(
    cut=st.integers(0, 30),
    keep_max=st.integers(1, 6),
    every_n_hours=st.sampled_from([0.5, 1.0, 3.0, 10000.0]),
    gaps=st.lists(st.floats(0.01, 2.0), min_size=30, max_size=30),
)
def test_a_restart_changes_nothing(cut: int, keep_max: int, every_n_hours: float, gaps: list[float]) -> None:
    hours = [sum(gaps[:count]) for count in range(len(gaps))]
    whole = _train(hours, keep_max, every_n_hours)
    parts = _train(hours[cut:], keep_max, every_n_hours, _train(hours[:cut], keep_max, every_n_hours), first=cut)
    assert parts == whole


@settings(deadline=None)
@given(
    damaged=st.sets(st.integers(0, 8)),
    pinned=st.sets(st.integers(0, 9)),
    keep_max=st.integers(1, 5),
)
def test_pinned_ones_and_the_newest_whole_ones_never_go(damaged: set[int], pinned: set[int], keep_max: int) -> None:
    index = CheckpointIndex(hours_counted_from=0.0, pinned={str(step): f"model.ckpt-{step}" for step in pinned})
    for step in range(10):
        index = index.with_saved(_entry(step))
    index, doomed = retire(index, keep_max, 10000.0, lambda entry: int(entry.name.split("-")[1]) not in damaged)
    newest_whole = [step for step in range(10) if step not in damaged][-keep_max:]
    assert {*newest_whole, *pinned} <= set(_steps(index))
    assert {f"model.ckpt-{step}" for step in range(10)} == {entry.name for entry in index.entries} | set(doomed)
    assert all(int(name.split("-")[1]) < newest_whole[0] for name in doomed)


def test_damaged_ones_are_not_kept_for_their_period() -> None:
    index = CheckpointIndex(hours_counted_from=0.0)
    for step in range(4):
        index = index.with_saved(_entry(step, step * 5.0))
    index, doomed = retire(index, 1, 5.0, lambda entry: entry.name != "model.ckpt-1")
    assert doomed == ["model.ckpt-0", "model.ckpt-1"]
    assert index.kept == {"model.ckpt-2"}


def test_a_checkpoint_that_someone_went_back_to_stays() -> None:
    entries = tuple(_entry(step) for step in range(6))
    index = CheckpointIndex(entries, latest="model.ckpt-1", hours_counted_from=0.0)
    assert _steps(retire(index, 2, 10000.0, lambda entry: True)[0]) == [1, 4, 5]


def test_without_an_index_what_is_outside_the_window_stays() -> None:
    entries = tuple(_entry(step, step) for step in range(6))
    adopted = adopt_survivors(CheckpointIndex(entries, is_rebuilt=True), 4)
    assert adopted.kept == {"model.ckpt-0", "model.ckpt-1"}
    assert adopted.hours_counted_from == _HOUR
    assert adopt_survivors(CheckpointIndex(entries), 4).kept == frozenset()
    assert adopt_survivors(CheckpointIndex(entries, is_rebuilt=True), None).kept == frozenset()
