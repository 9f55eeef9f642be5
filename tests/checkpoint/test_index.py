"""index: reading, reconciling and writing, without any store."""

from pathlib import Path

import pytest

from torchestimator.checkpoint.index import CheckpointIndex, IndexEntry, newest_whole, read_index, write_index


def _entry(model_dir: Path, step: int, saved_at: float) -> IndexEntry:
    path = model_dir / f"model.ckpt-{step}"
    path.mkdir(exist_ok=True)
    return IndexEntry(path.name, str(path), saved_at)


def test_an_index_comes_back(tmp_path: Path) -> None:
    index = CheckpointIndex(hours_counted_from=1.5, kept=frozenset({"model.ckpt-1"}), pinned={"best": "model.ckpt-2"})
    for step in (3, 1, 2):
        index = index.with_saved(_entry(tmp_path, step, step / 4))
    write_index(str(tmp_path), index)
    assert read_index(str(tmp_path)) == index
    assert [entry.name[-1] for entry in index.newest_first()] == ["2", "1", "3"]


def test_labels_of_vanished_checkpoints_are_forgotten(tmp_path: Path) -> None:
    index = CheckpointIndex(kept=frozenset({"model.ckpt-1"}), pinned={"best": "model.ckpt-1"})
    index = index.with_saved(_entry(tmp_path, 1, 1.0)).with_saved(_entry(tmp_path, 2, 2.0))
    write_index(str(tmp_path), index)
    (tmp_path / "model.ckpt-1").rmdir()
    read = read_index(str(tmp_path))
    assert (read.kept, read.pinned, read.latest) == (frozenset(), {}, "model.ckpt-2")
    (tmp_path / "model.ckpt-2").rmdir()
    assert read_index(str(tmp_path)).latest is None


def test_saving_again_moves_to_the_end_and_keeps_labels(tmp_path: Path) -> None:
    index = CheckpointIndex(pinned={"best": "model.ckpt-1"})
    for step, saved_at in ((1, 1.0), (2, 2.0), (1, 3.0)):
        index = index.with_saved(_entry(tmp_path, step, saved_at))
    assert [(entry.name, entry.saved_at) for entry in index.entries] == [("model.ckpt-2", 2.0), ("model.ckpt-1", 3.0)]
    assert index.pinned == {"best": "model.ckpt-1"}
    assert index.hours_counted_from == 1.0


def test_the_newest_whole_one_is_none_when_all_are_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        _entry(tmp_path, step, step)
    assert newest_whole(str(tmp_path)) is None
    assert "model.ckpt-1 is damaged" in caplog.text
    assert "model.ckpt-2 is damaged" in caplog.text
    assert read_index(str(tmp_path)).is_rebuilt
