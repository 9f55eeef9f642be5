"""folders: names, and what a crash between two renames leaves."""

from pathlib import Path

import pytest

from torchestimator.checkpoint.folders import checkpoint_name, clean_up, find, publish, remove, stage, step_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("model.ckpt-0", 0),
        ("model.ckpt-120", 120),
        ("model.ckpt-007", None),
        ("model.ckpt-", None),
        ("model.ckpt-5.index", None),
        (".model.ckpt-5.ab.tmp", None),
        ("model_ckpt-5", None),
    ],
)
def test_names_tell_steps(name: str, step: int | None) -> None:
    assert step_of(name) == step
    assert step is None or checkpoint_name(step) == name


def test_a_folder_shows_when_published_and_vanishes_when_removed(tmp_path: Path) -> None:
    model_dir = str(tmp_path)
    for content in ("first", "second"):
        staged = Path(stage(model_dir, "model.ckpt-3"))
        (staged / "content").write_text(content)
        assert publish(str(staged), model_dir, "model.ckpt-3") == str(tmp_path / "model.ckpt-3")
        assert find(model_dir) == {"model.ckpt-3": str(tmp_path / "model.ckpt-3")}
        assert (tmp_path / "model.ckpt-3" / "content").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt-3"]
    remove(model_dir, "model.ckpt-3")
    assert not list(tmp_path.iterdir())


def test_a_displaced_folder_counts_until_its_successor_is_there(tmp_path: Path) -> None:
    displaced = tmp_path / ".model.ckpt-3.0123abcd.old"
    displaced.mkdir()
    (displaced / "content").write_text("old")
    (tmp_path / ".model.ckpt-3.4567abcd.tmp").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert find(str(tmp_path)) == {"model.ckpt-3": str(displaced)}
    clean_up(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "model.ckpt-3"]
    assert (tmp_path / "model.ckpt-3" / "content").read_text() == "old"
    displaced.mkdir()
    assert find(str(tmp_path)) == {"model.ckpt-3": str(tmp_path / "model.ckpt-3")}
    clean_up(str(tmp_path))
    assert not displaced.exists()


def test_a_failed_replacement_puts_the_old_one_back(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-3").mkdir()
    with pytest.raises(FileNotFoundError):
        publish(str(tmp_path / "never staged"), str(tmp_path), "model.ckpt-3")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt-3"]


def test_a_missing_model_dir_has_no_checkpoints(tmp_path: Path) -> None:
    assert find(str(tmp_path / "missing")) == {}


def test_what_cannot_be_removed_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remove(str(tmp_path), "model.ckpt-9")
    assert "model.ckpt-9" in caplog.text
