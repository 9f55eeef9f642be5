import pytest

from torchestimator.checkpoint.tensorflow.location import find_prefix, require_prefix


def make(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.index").write_bytes(b"")


def state(folder, text):
    (folder / "checkpoint").write_text(text)


def test_a_prefix_and_its_index(tmp_path):
    make(tmp_path, "model.ckpt-3")
    prefix = str(tmp_path / "model.ckpt-3")
    assert find_prefix(prefix) == find_prefix(f"{prefix}.index") == prefix


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.ckpt-3", 'model_checkpoint_path: "model.ckpt-3"\nall_model_checkpoint_paths: "model.ckpt-1"\n'),
        ("model.ckpt-3", 'all_model_checkpoint_paths: "model.ckpt-1"\nmodel_checkpoint_path: "model.ckpt-3"\n'),
        ("model.ckpt-3", "model_checkpoint_path:'/another/machine/model.ckpt-3'"),
        ("gr\u00fcn-3", 'model_checkpoint_path: "gr\\303\\274n-3"\n'),
        ('a"b\\-3', 'model_checkpoint_path: "a\\"b\\\\-3"\n'),
        ("tab\tn-3", 'model_checkpoint_path: "tab\\tn\\x2d3"\n'),
    ],
)
def test_the_newest_of_a_model_dir(tmp_path, name, text):
    make(tmp_path, "model.ckpt-1", name)
    state(tmp_path, text)
    assert find_prefix(str(tmp_path)) == str(tmp_path / name)


def test_an_absolute_path_that_is_still_there(tmp_path):
    make(tmp_path / "old", "model.ckpt-3")
    make(tmp_path / "new", "model.ckpt-3")
    state(tmp_path / "new", f'model_checkpoint_path: "{tmp_path}/old/model.ckpt-3"')
    assert find_prefix(str(tmp_path / "new")) == str(tmp_path / "old" / "model.ckpt-3")


def test_a_saved_model(tmp_path):
    make(tmp_path / "variables", "variables")
    assert find_prefix(str(tmp_path)) == str(tmp_path / "variables" / "variables")


def test_no_checkpoint(tmp_path):
    make(tmp_path, "model.ckpt-3")
    with pytest.raises(FileNotFoundError, match=r"no TensorFlow checkpoint at .*model\.ckpt-4.*holds: model\.ckpt"):
        require_prefix(str(tmp_path / "model.ckpt-4"))
    state(tmp_path, 'model_checkpoint_path: "model.ckpt-9"')
    with pytest.raises(FileNotFoundError, match=r"names 'model\.ckpt-9' as the newest checkpoint, but there is no"):
        require_prefix(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        require_prefix(str(tmp_path / "none" / "model.ckpt-1"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="is empty"):
        require_prefix(str(tmp_path / "empty"))


def test_a_model_dir_of_this_library_is_none(tmp_path):
    state(tmp_path, '{"format": 1, "checkpoints": []}')
    assert find_prefix(str(tmp_path)) is None
