"""Checkpoints of jobs: several processes save and restore together, in other numbers, and when they are killed."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader

from tests.checkpoint.job import run_driver, whole_tensors
from tests.checkpoint.tensors import same_bits, zeros_like
from torchestimator.checkpoint import Checkpoint, CheckpointStore


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where jobs save: memory, as a killed process loses nothing that it gave to the system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as path:
        yield Path(path)


@pytest.fixture(scope="module")
def saved(folder: Path) -> Path:
    """A checkpoint that four processes have saved."""
    run_driver(["save,fsdp,failures,damage", str(folder), "4"])
    return folder / "save" / "model.ckpt-1"


def test_four_processes_save_and_one_reads(saved: Path) -> None:
    shards = [f"{kind}-0000{rank}-of-00004.safetensors" for kind in ("model", "optimizer") for rank in range(1, 5)]
    assert sorted(os.listdir(saved)) == ["manifest.json", *shards, "state.json"]
    checkpoint = Checkpoint(saved)
    tensors = {"plain": torch.arange(10.0)} | {name: tensor for name, (tensor, _) in whole_tensors().items()}
    tensors["tied"] = tensors["uneven"]
    assert checkpoint.aliases == {"tied": "uneven"}
    assert checkpoint.model_shapes == {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    assert all(same_bits(checkpoint.read_model(name), tensor) for name, tensor in tensors.items())
    model = {name: zeros_like(tensor) for name, tensor in tensors.items()}
    slots = {"w/m": torch.zeros_like(tensors["uneven"])}
    checkpoint.load(model, slots)
    assert all(same_bits(model[name], tensor) for name, tensor in tensors.items())
    assert torch.equal(slots["w/m"], tensors["uneven"])


def test_what_processes_share_is_stored_once(saved: Path) -> None:
    num_bytes = sum(path.stat().st_size for path in saved.glob("model-*"))
    assert num_bytes < sum(tensor.nbytes for tensor, _ in whole_tensors().values()) + 4 * 10_000


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_torch_distributed_checkpoint_reads_the_shards(saved: Path) -> None:
    expected = {
        name: tensor
        for name, (tensor, _) in whole_tensors().items()
        if tensor.numel() and tensor.dim() and not name.startswith("dtypes/")
    }
    assert {"uneven", "few_rows", "columns", "last", "copied", "large", "large_columns"} < expected.keys()
    wanted = {name: torch.zeros_like(tensor) for name, tensor in expected.items()} | {"plain": torch.zeros(10)}
    dcp.load(wanted, storage_reader=HuggingFaceStorageReader(str(saved.with_name("model.ckpt-3"))), no_dist=True)
    assert all(same_bits(wanted[name], tensor) for name, tensor in expected.items())
    assert torch.equal(wanted["plain"], torch.arange(10.0))


def test_two_processes_restore_what_four_or_one_have_saved_and_save_in_the_background(saved: Path) -> None:
    folder = saved.parents[1]
    run_driver(["load,background", str(folder), "2"])
    # The write that was under way when the processes ended has come to its end.
    assert CheckpointStore(folder / "background").latest() == str(folder / "background" / "model.ckpt-5")
    tensors = {"plain": torch.arange(10.0)} | {name: tensor for name, (tensor, _) in whole_tensors().items()}
    tensors["tied"] = tensors["uneven"]
    CheckpointStore(folder / "save").save(1, tensors, {"w/m": tensors["uneven"]}, {"epoch": 3})
    run_driver(["load", str(folder)], ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"])


def test_a_job_that_is_killed_while_it_saves_loses_nothing(folder: Path) -> None:
    run_driver(["kill", str(folder), "2"])
