"""ProcessGroupPlan: this process's place among those that train together."""

from dataclasses import dataclass
from typing import Literal

Source = Literal["torchrun", "TF_CONFIG", "SLURM"]


@dataclass(frozen=True, kw_only=True)
class ProcessGroupPlan:
    """What torch.distributed has to be told: `init_process_group(init_method=, rank=, world_size=)`."""

    rank: int
    """Index of this process over all machines; 0 is the chief."""
    local_rank: int
    """Index of this process on its machine, which is the index of its device."""
    world_size: int
    """Number of processes, at least 2."""
    local_world_size: int | None
    """Number of processes on this machine; None where the environment does not tell."""
    init_method: str
    """Where the processes meet: "env://", or "tcp://host:port" of the chief."""
    source: Source
    """Which description of the environment this is from."""

    def __str__(self) -> str:
        place = f"process {self.rank} of {self.world_size} ({'chief' if self.rank == 0 else 'worker'})"
        return f"{place}, local rank {self.local_rank}, rendezvous at {self.init_method}, from {self.source}"
