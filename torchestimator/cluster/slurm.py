"""The environment that SLURM's srun gives to the tasks of a job step."""

import re

from torchestimator.cluster.process_group import ProcessGroupPlan
from torchestimator.cluster.variables import index_below, text, whole_number
from torchestimator.log import LOG

_FIRST_PORT = 15000
_NUM_PORTS = 15000
"""Rendezvous ports lie below those that Linux gives to outgoing connections (from 32768)."""

_NAME = re.compile(r"(?=.)[^\[\],\s]*(?:\[[^\[\]]+\][^\[\],\s]*)*")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def read_slurm() -> ProcessGroupPlan | None:
    """Reads the place of this process in its job step.

    The processes meet on the step's first host, at MASTER_ADDR and MASTER_PORT where the job script sets them, else
    at a port that follows from the ids of job and step.

    Returns:
        None outside SLURM and for a single task. A batch script's own commands have SLURM_NTASKS and SLURM_PROCID as
        well, but only srun starts several of them, and only srun sets SLURM_STEP_ID.

    Raises:
        ValueError: a variable is missing or wrong, or two contradict each other.
    """
    step = whole_number("SLURM_STEP_ID")
    if step is None:
        step = whole_number("SLURM_STEPID")
    num_tasks = whole_number("SLURM_NTASKS", 1) or 1
    if step is None:
        if num_tasks > 1 and text("SLURM_PROCID") is not None:
            LOG.warning(
                "This SLURM job has %d tasks, but this process was not started by srun and works on its own. "
                "Write: srun python script.py",
                num_tasks,
            )
        return None
    # An interactive shell's step has one task, whatever the allocation has.
    world_size = whole_number("SLURM_STEP_NUM_TASKS", 1) or num_tasks
    if world_size == 1:
        return None
    rank = index_below("SLURM_PROCID", _required("SLURM_PROCID"), world_size, "SLURM_NTASKS")
    port = whole_number("MASTER_PORT", 1) or _FIRST_PORT + (_required("SLURM_JOB_ID") + step) % _NUM_PORTS
    return ProcessGroupPlan(
        rank=rank,
        local_rank=index_below("SLURM_LOCALID", _required("SLURM_LOCALID"), world_size, "SLURM_NTASKS"),
        world_size=world_size,
        local_world_size=_tasks_here(),
        init_method=f"tcp://{text('MASTER_ADDR') or _first_host()}:{port}",
        source="SLURM",
    )


def expand_hosts(node_list: str) -> list[str]:
    """The hosts of a list in SLURM's spelling: "gpu[01-03,7],login" is gpu01, gpu02, gpu03, gpu7, login.

    Several brackets in one name are combined, the last one counting fastest.

    Raises:
        ValueError: the list can't be read.
    """
    hosts: list[str] = []
    # Commas inside brackets belong to the name.
    for name in map(str.strip, re.split(r",(?![^\[\]]*\])", node_list)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"A SLURM node list can't be read: {name!r} is no name. Received: {node_list!r}.")
        parts = re.split(r"\[([^\[\]]+)\]", name)
        expanded = [parts[0]]
        for inside, after in zip(parts[1::2], parts[2::2], strict=True):
            numbers = [number for piece in inside.split(",") for number in _numbers(piece, node_list)]
            expanded = [f"{before}{number}{after}" for before in expanded for number in numbers]
        hosts += expanded
    return hosts


def _numbers(piece: str, node_list: str) -> list[str]:
    """The numbers of "7" or "08-11", with leading zeros as in the first."""
    match = _RANGE.fullmatch(piece.strip())
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise ValueError(f"A SLURM node list can't be read: {piece!r} is no range. Received: {node_list!r}.")
    first, last = match[1], match[2] or match[1]
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def _first_host() -> str:
    names = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    node_list = next((found for name in names if (found := text(name)) is not None), None)
    if node_list is None:
        raise ValueError(
            "The environment describes a SLURM job step, but not its nodes: one of "
            f"{', '.join(names)} must be set. Start with `srun python script.py`, or set MASTER_ADDR."
        )
    return expand_hosts(node_list)[0]


def _tasks_here() -> int | None:
    """Tasks on this machine, where all machines have the same number: "4" and "4(x2)", but not "4,3"."""
    tasks = text("SLURM_STEP_TASKS_PER_NODE") or text("SLURM_TASKS_PER_NODE") or ""
    match = re.fullmatch(r"(\d+)(?:\(x\d+\))?", tasks)
    return int(match[1]) if match else None


def _required(name: str) -> int:
    value = whole_number(name)
    if value is None:
        raise ValueError(
            f"The environment describes a SLURM job step of several tasks, but {name} is not set. "
            "Start with `srun python script.py`, which sets it."
        )
    return value
