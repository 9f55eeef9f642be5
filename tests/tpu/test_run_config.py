"""The RunConfig with a TPUConfig."""

import pytest

import torchestimator as te
from torchestimator.tpu import RunConfig, TPUConfig


def test_it_is_a_run_config():
    config = RunConfig(model_dir="x", save_checkpoints_steps=10)
    assert isinstance(config, te.RunConfig)
    assert config.cores == TPUConfig()
    changed = config.replace(tpu_config=TPUConfig(iterations_per_loop=7), save_checkpoints_secs=5)
    assert type(changed) is RunConfig
    assert (changed.cores.iterations_per_loop, changed.save_checkpoints_steps) == (7, None)
    assert config.cores.iterations_per_loop == 2


def test_errors():
    with pytest.raises(TypeError, match=r"`tpu_config` must be a tpu\.TPUConfig\. Received: 7"):
        RunConfig(tpu_config=7)
    for name in ("master", "evaluation_master", "cluster"):
        with pytest.raises(ValueError, match=f"`{name}` has no meaning here: the script itself runs on every machine"):
            RunConfig(**{name: "grpc://10.0.0.1"})
    with pytest.raises(ValueError, match="save_summary_steps"):
        RunConfig(save_summary_steps=-1)
