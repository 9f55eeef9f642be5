"""damage: the error survives a trip between processes."""

import copy

from torchestimator.checkpoint import CheckpointDamagedError


def test_the_error_says_file_and_damage_and_can_be_copied() -> None:
    error = CheckpointDamagedError("/runs/model.ckpt-3/state.json", "it is missing")
    for version in (error, copy.deepcopy(error)):
        assert str(version) == "/runs/model.ckpt-3/state.json is damaged: it is missing"
        assert (version.path, version.detail) == ("/runs/model.ckpt-3/state.json", "it is missing")
