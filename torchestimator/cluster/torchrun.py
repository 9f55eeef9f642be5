"""The environment that torchrun gives to the processes it starts."""

from dataclasses import dataclass

from torchestimator.cluster.process_group import ProcessGroupPlan
from torchestimator.cluster.variables import index_below, text, whole_number


@dataclass(frozen=True, kw_only=True)
class Torchrun:
    """A process started by torchrun, or by something that sets the same variables."""

    plan: ProcessGroupPlan
    """Its place; the world may have one process only."""
    num_machines: int | None
    """How many torchruns work together; None where the environment does not tell."""


def read_torchrun() -> Torchrun | None:
    """Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    LOCAL_RANK may be missing, as in jobs with one process per machine (Kubernetes' PyTorchJob); it is 0 then.

    Returns:
        None where neither RANK nor LOCAL_RANK is set.

    Raises:
        ValueError: a variable is missing or wrong, or two contradict each other.
    """
    rank, local_rank = whole_number("RANK"), whole_number("LOCAL_RANK")
    if rank is None and local_rank is None:
        return None
    world_size = whole_number("WORLD_SIZE", 1)
    if rank is None or world_size is None:
        given = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if text(name) is not None]
        missing = "RANK" if rank is None else "WORLD_SIZE"
        raise ValueError(
            f"The environment describes a process of torchrun only in part: {missing} is not set. Received: {given}. "
            "Start with `torchrun --nproc-per-node=N script.py`, which sets all, or unset them."
        )
    index_below("RANK", rank, world_size, "WORLD_SIZE")
    local_world_size = whole_number("LOCAL_WORLD_SIZE", 1)
    if local_rank is not None and local_world_size is not None:
        index_below("LOCAL_RANK", local_rank, local_world_size, "LOCAL_WORLD_SIZE")
    if max(local_world_size or 1, (local_rank or 0) + 1) > world_size:
        raise ValueError(
            "The environment describes more processes on this machine than on all. Received: "
            f"LOCAL_RANK={local_rank}, LOCAL_WORLD_SIZE={local_world_size}, WORLD_SIZE={world_size}."
        )
    if world_size > 1:
        _check_rendezvous(rank, world_size)
    plan = ProcessGroupPlan(
        rank=rank,
        local_rank=local_rank or 0,
        world_size=world_size,
        local_world_size=local_world_size,
        init_method="env://",
        source="torchrun",
    )
    return Torchrun(plan=plan, num_machines=whole_number("GROUP_WORLD_SIZE", 1))


def _check_rendezvous(rank: int, world_size: int) -> None:
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if text(name) is None]
    if missing:
        raise ValueError(
            f"The environment says that this is process {rank} of {world_size}, but not where they meet: {missing} "
            "must be set. torchrun does that: `torchrun --nproc-per-node=N script.py`."
        )
    port = whole_number("MASTER_PORT", 1)
    if port is not None and port > 65535:
        raise ValueError(f"The environment variable MASTER_PORT must be a port up to 65535. Received: {port}.")
