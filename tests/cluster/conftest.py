"""An environment that says nothing of other processes."""

import pytest


@pytest.fixture
def environment(monkeypatch):
    """Clears what tells of other processes; the result is called with the variables to set."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MASTER_PORT", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ID", "NTASKS", "NUM_TASKS", "NODELIST", "TASKS_PER_NODE"):
        for prefix in ("SLURM", "SLURM_STEP", "SLURM_JOB"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    for name in ("SLURM_STEPID", "SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)

    def put(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return put
