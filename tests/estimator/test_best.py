"""The record of the best checkpoint."""

import json

import torch

from tests.models import messages
from torchestimator.checkpoint import CheckpointStore
from torchestimator.estimator.best import BestCheckpoint


def save(model_dir, step):
    return CheckpointStore(model_dir, 1).save(step, {"w": torch.zeros(1)}, {}, {})


def results(loss, step):
    return {"loss": loss, "global_step": step}


def test_only_a_lower_loss_counts(tmp_path):
    best = BestCheckpoint(str(tmp_path))
    assert best.loss() == float("inf")
    assert best.consider(save(tmp_path, 1), results(2.0, 1))
    assert not best.consider(save(tmp_path, 2), results(2.0, 2))
    assert not best.consider(save(tmp_path, 3), results(float("nan"), 3))
    assert BestCheckpoint(str(tmp_path)).loss() == 2.0
    assert best.consider(save(tmp_path, 4), results(1.5, 4))
    assert json.loads((tmp_path / "best.json").read_text()) == {"checkpoint": "model.ckpt-4", "step": 4, "loss": 1.5}
    assert CheckpointStore(tmp_path).pinned("best") == str(tmp_path / "model.ckpt-4")
    save(tmp_path, 5)
    save(tmp_path, 6)
    assert [path[-1] for path in CheckpointStore(tmp_path).all()] == ["4", "6"]


def test_a_nan_loss_is_never_the_best(tmp_path):
    assert not BestCheckpoint(str(tmp_path)).consider(save(tmp_path, 1), results(float("nan"), 1))
    assert not (tmp_path / "best.json").exists()


def test_a_record_that_cannot_be_read_counts_as_none(tmp_path, caplog):
    for text in ("{", '{"step": 1}', '{"loss": "x", "checkpoint": "c"}', "[]"):
        (tmp_path / "best.json").write_text(text)
        assert BestCheckpoint(str(tmp_path)).loss() == float("inf")
    assert sum("can't be read" in line for line in messages(caplog)) == 4


def test_the_record_of_a_checkpoint_that_is_gone_counts_as_none(tmp_path):
    (tmp_path / "best.json").write_text('{"checkpoint": "model.ckpt-9", "step": 9, "loss": 0.1}')
    assert BestCheckpoint(str(tmp_path)).loss() == float("inf")
