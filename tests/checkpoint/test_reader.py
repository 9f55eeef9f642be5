"""reader: opening one checkpoint, by any of its spellings, and reading its parts."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from torchestimator.checkpoint import Checkpoint, CheckpointDamagedError, CheckpointStore


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    store = CheckpointStore(tmp_path / "runs", clock=lambda: 1234.5)
    for step in (100, 200):
        kernel = torch.full((3, 4), float(step))
        model = {"kernel": kernel, "tied": kernel, "scale": torch.tensor(2.0, dtype=torch.bfloat16)}
        store.save(step, model, {"kernel/exp_avg": -kernel}, {"hooks": {"best": [float("nan"), step]}})
    return tmp_path / "runs"


def test_a_checkpoint_tells_what_it_holds(model_dir: Path) -> None:
    checkpoint = Checkpoint(model_dir / "model.ckpt-100")
    assert checkpoint.path == str(model_dir / "model.ckpt-100")
    assert (checkpoint.step, checkpoint.saved_at) == (100, 1234.5)
    assert checkpoint.state["hooks"]["best"][1] == 100
    assert checkpoint.model_shapes == {
        "kernel": (torch.float32, (3, 4)),
        "tied": (torch.float32, (3, 4)),
        "scale": (torch.bfloat16, ()),
    }
    assert checkpoint.optimizer_shapes == {"kernel/exp_avg": (torch.float32, (3, 4))}
    assert checkpoint.aliases == {"tied": "kernel"}
    assert torch.equal(checkpoint.read_model("tied"), torch.full((3, 4), 100.0))
    assert torch.equal(checkpoint.read_optimizer("kernel/exp_avg"), torch.full((3, 4), -100.0))
    with pytest.raises(ValueError, match=r"Received: 'nothing'"):
        checkpoint.read_model("nothing")


def test_each_access_gives_a_state_of_its_own(model_dir: Path) -> None:
    checkpoint = Checkpoint(model_dir)
    checkpoint.state["hooks"].clear()
    assert checkpoint.state["hooks"]


def test_a_checkpoint_is_found_by_its_folder_its_model_dir_and_a_relative_path(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_dir.parent)
    for path in (model_dir, "runs", "runs/", "runs/model.ckpt-200", str(model_dir / "model.ckpt-200")):
        assert Checkpoint(path).path == str(model_dir / "model.ckpt-200")
    shutil.copytree(model_dir / "model.ckpt-100", "copied")
    assert Checkpoint("copied").step == 100


def test_what_is_no_checkpoint_is_answered_with_what_there_is(model_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds: .*model\.ckpt-100, model\.ckpt-200"):
        Checkpoint(model_dir / "model.ckpt-300")
    (model_dir.parent / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="is empty"):
        Checkpoint(model_dir.parent / "empty")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Checkpoint(model_dir / "missing" / "model.ckpt-1")
    (model_dir / "model.ckpt-7.index").write_text("")
    with pytest.raises(ValueError, match="TensorFlow"):
        Checkpoint(model_dir / "model.ckpt-7")


def test_a_later_format_asks_for_a_later_version_and_is_not_called_damaged(model_dir: Path) -> None:
    path = model_dir / "model.ckpt-200" / "manifest.json"
    document = json.loads(path.read_text()) | {"format": 2}
    del document["sha256"]
    document["sha256"] = hashlib.sha256(
        json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="later version") as caught:
        CheckpointStore(model_dir).load_newest_valid(lambda checkpoint: checkpoint.step)
    assert not isinstance(caught.value, CheckpointDamagedError)


def test_tied_tensors_are_tied_again_by_a_model_that_ties_them(model_dir: Path) -> None:
    module = nn.Module()
    module.kernel = nn.Parameter(torch.zeros(3, 4))
    module.tied = module.kernel
    module.scale = nn.Parameter(torch.tensor(0.0))
    Checkpoint(model_dir).load_model(module.state_dict())
    assert module.tied is module.kernel
    assert torch.equal(module.kernel, torch.full((3, 4), 200.0))
    assert module.scale.item() == 2.0


def test_loading_may_skip_names_and_never_shapes(model_dir: Path) -> None:
    checkpoint = Checkpoint(model_dir)
    scale = torch.zeros((), dtype=torch.bfloat16)
    differences = checkpoint.load_model({"scale": scale, "new": torch.zeros(1)}, strict=False)
    assert scale.item() == 2.0
    assert (differences.missing, differences.unexpected) == (("new",), ("kernel", "tied"))
    assert checkpoint.load_optimizer({"kernel/exp_avg": torch.zeros(3, 4)}).missing == ()
    with pytest.raises(ValueError, match=r"wanted: float32 \[4, 3\]"):
        checkpoint.load_optimizer({"kernel/exp_avg": torch.zeros(4, 3)}, strict=False)


def test_loading_both_checks_both_before_changing_either(model_dir: Path) -> None:
    model = {"kernel": torch.zeros(3, 4), "tied": torch.zeros(3, 4), "scale": torch.zeros((), dtype=torch.bfloat16)}
    with pytest.raises(ValueError, match=r"optimizer\.safetensors"):
        Checkpoint(model_dir).load(model, {})
    assert not any(tensor.any() for tensor in model.values())


def test_verification_can_be_left_out(model_dir: Path) -> None:
    for name in ("model.safetensors", "state.json"):
        path = model_dir / "model.ckpt-200" / name
        data = path.read_bytes()
        path.write_bytes(data.replace(b"200", b"201") if name == "state.json" else data[:-1] + b"\x41")
    careful, hasty = Checkpoint(model_dir), Checkpoint(model_dir, verify=False)
    for read in (lambda: careful.state, lambda: careful.read_model("kernel")):
        with pytest.raises(CheckpointDamagedError, match="sha256"):
            read()
    assert hasty.state["hooks"]["best"][1] == 201
    assert hasty.read_model("scale").item() != 2.0
