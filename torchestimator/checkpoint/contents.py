"""What a checkpoint is to hold: checked and laid out in every process of a job, and yet to be written."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from torchestimator.checkpoint.digest import FileDigest, digest_of
from torchestimator.checkpoint.filesystem import write_file
from torchestimator.checkpoint.group import Group, run_on_all
from torchestimator.checkpoint.json_document import encode
from torchestimator.checkpoint.manifest import MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, shard_name
from torchestimator.checkpoint.mismatch import shorten
from torchestimator.checkpoint.parallel import run_together
from torchestimator.checkpoint.tensor_writer import TensorFilePlan, plan_tensor_file


@dataclass(frozen=True)
class CheckpointContents:
    """This process's part of a checkpoint."""

    step: int
    """The global step that was reached."""
    tensor_files: Mapping[str, TensorFilePlan]
    """The tensor files that this process writes, by name."""
    state: bytes | None
    """The training state, encoded; None in processes that do not write it."""
    job_bytes: int
    """What all processes write together."""

    def written_from(self, tensor_files: Mapping[str, TensorFilePlan]) -> "CheckpointContents":
        """The same contents with tensor files that take their data from elsewhere."""
        return replace(self, tensor_files=tensor_files)

    def write(self, folder: str) -> dict[str, FileDigest]:
        """Writes this process's files and returns, when they are on disk, their digests by name."""
        digests = {}
        if self.state is not None:
            write_file(os.path.join(folder, STATE_FILE), self.state)
            digests[STATE_FILE] = digest_of(self.state)
        jobs = [partial(plan.write, os.path.join(folder, name)) for name, plan in self.tensor_files.items()]
        return digests | dict(zip(self.tensor_files, run_together(*jobs), strict=True))


def plan_contents(
    step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: dict[str, Any], group: Group
) -> CheckpointContents:
    """Checks on all processes of a job what is to be saved, and lays it out. Writes nothing.

    Args:
        step: The global step that was reached.
        model: The model's tensors by name.
        optimizer: The optimizer's tensors by name.
        state: Everything else; that of process 0 counts.
        group: The processes that save together.

    Raises:
        TypeError: Something cannot be stored as tensors or JSON.
        ValueError: Likewise, or the processes want to save different things.
    """
    plans: dict[str, TensorFilePlan] = {}
    encoded = b""

    def plan() -> dict[str, Any]:
        nonlocal encoded
        if type(step) is not int or step < 0:
            raise ValueError(f"`step` must be an integer of at least 0. Received: step={step!r}")
        if type(state) is not dict:
            raise TypeError(f"`state` must be a dict. Received: {state!r:.100} of type {type(state).__name__}")
        plans[MODEL_FILE] = plan_tensor_file(model, "model", {"format": "pt"}, group)
        plans[OPTIMIZER_FILE] = plan_tensor_file(optimizer, "optimizer", {"format": "pt"}, group)
        encoded = encode(state, "state")
        own = sum(plan.num_bytes for plan in plans.values() if plan.is_shard or group.rank == 0)
        return {"layout": _fingerprint(step, plans), "bytes": own + len(encoded)}

    answers = run_on_all(group, plan)
    if any(answer["layout"] != answers[0]["layout"] for answer in answers):
        _explain_difference(step, plans, group)
    tensor_files = {
        shard_name(name, group.rank, group.num_replicas) if plan.is_shard else name: plan
        for name, plan in plans.items()
        if plan.is_shard or group.rank == 0
    }
    total = sum(answer["bytes"] for answer in answers)
    return CheckpointContents(step, tensor_files, encoded if group.rank == 0 else None, total)


def _fingerprint(step: int, plans: Mapping[str, TensorFilePlan]) -> str:
    document = [step, *(sorted(plan.layout.items()) for plan in plans.values())]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _explain_difference(step: int, plans: Mapping[str, TensorFilePlan], group: Group) -> None:
    """Raises the error, on all processes, that says where they differ."""
    own = {"step": str(step)} | {
        f"{argument}[{name!r}]": layout
        for argument, plan in zip(("model", "optimizer"), plans.values(), strict=True)
        for name, layout in plan.layout.items()
    }
    first, *others = group.exchange(own)
    for rank, other in enumerate(others, start=1):
        differing = [
            f"`{name}` ({other.get(name, 'nothing')} in process {rank}, {first.get(name, 'nothing')} in process 0)"
            for name in first | other
            if first.get(name) != other.get(name)
        ]
        if differing:
            raise ValueError(
                "all processes of a job must save the same step of the same model together. "
                f"Received: {shorten(differing)}"
            )
