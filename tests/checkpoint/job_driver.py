"""What the processes of a job do: `python -m tests.checkpoint.job_driver SCENARIO,... FOLDER PROCESSES`."""

import contextlib
import functools
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard

from tests.checkpoint.job import GlooGroup, distributed, empty_like, fork_job, join, placed, same_here, start_job
from torchestimator.checkpoint import BackgroundSaver, Checkpoint, CheckpointDamagedError, CheckpointStore

_STATE = {"epoch": 3}


def main(scenarios: str, folder: str, num_processes: str = "0") -> None:
    """Runs scenarios, named with commas between.

    Under torchrun this process is one of a job; otherwise `num_processes` are forked that are one, which takes a
    fraction of the time.
    """
    if scenarios == "kill":
        torch.set_num_threads(1)
        kill_jobs(int(num_processes), Path(folder) / "kill", num_kills=4)
    elif int(num_processes):
        fork_job(int(num_processes), folder, functools.partial(_run, scenarios, folder))
    else:
        _run(scenarios, folder, *join())


def _run(scenarios: str, folder: str, group: GlooGroup, mesh: DeviceMesh) -> None:
    for name in scenarios.split(","):
        _SCENARIOS[name](group, mesh, Path(folder) / ("save" if name == "load" else name))


def save(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """Saves, and restores in the same and in another placement."""
    store = CheckpointStore(folder)
    tensors = placed(mesh)
    path = store.save(1, tensors, {"w/m": tensors["uneven"]}, _STATE if group.rank == 0 else {}, group=group)
    assert path == str(folder / "model.ckpt-1")
    load(group, mesh, folder)
    known = {name: tensor for name, tensor in tensors.items() if not name.startswith("dtypes/")}
    store.save(3, known, {"w/m": tensors["uneven"]}, {}, group=group)
    # What all processes have is written once, by process 0, in the files of a single process.
    path = store.save(2, {"w": torch.ones(3)}, {"w/m": tensors["copied"]}, _STATE, group=group)
    assert sorted(os.listdir(path)) == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def load(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """Restores what `save`, or a process by itself, has saved."""
    for turned in (False, True):
        expected = placed(mesh, turned)
        model = empty_like(expected)
        slots = empty_like({"w/m": expected["uneven"]})
        checkpoint = Checkpoint(folder / "model.ckpt-1")
        checkpoint.load(model, slots)
        assert same_here(model, expected)
        assert same_here(slots, {"w/m": expected["uneven"]})
        assert checkpoint.state == _STATE
        assert checkpoint.aliases == {"tied": "uneven"}


def fsdp(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """Trains a little with FSDP2, saves, and restores into another such model."""

    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(group.rank)
        module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1))
        fully_shard(module[0], mesh=mesh)
        fully_shard(module, mesh=mesh)
        optimizer = torch.optim.Adam(module.parameters(), foreach=False)
        module(torch.ones(2, 5)).sum().backward()
        optimizer.step()
        return module, optimizer

    def slots(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        return {
            f"{name}/{slot}": value
            for name, parameter in module.named_parameters()
            for slot, value in optimizer.state[parameter].items()
        }

    module, optimizer = build()
    path = CheckpointStore(folder).save(1, module.state_dict(), slots(module, optimizer), {}, group=group)
    other, other_optimizer = build()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    Checkpoint(path).load(other.state_dict(), slots(other, other_optimizer))
    assert same_here(dict(other.named_parameters()), dict(module.named_parameters()))
    assert same_here(slots(other, other_optimizer), slots(module, optimizer))
    whole = Checkpoint(path)
    for name, parameter in module.named_parameters():
        assert isinstance(parameter, DTensor)
        assert torch.equal(whole.read_model(name), parameter.full_tensor())
    assert torch.equal(other(torch.ones(2, 5)), module(torch.ones(2, 5)))


def failures(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """One process fails; all raise, name it, and nothing is lost or left behind."""
    store = CheckpointStore(folder)
    tensors = {"w": distributed(torch.arange(4_000_000), Shard(0), mesh)}
    store.save(1, tensors, {}, {}, group=group)

    def check(kind: type[Exception], pattern: str) -> None:
        with pytest.raises(kind, match=pattern):
            store.save(2, *arguments, group=group)
        _check_only(group, folder, 1)

    with _small_files(group.rank == 1):
        arguments: tuple[dict, dict, dict] = (tensors, {}, {})
        check(OSError, rf"process 1 of {group.num_replicas} failed: .*File too large\): it needs [\d,]+ bytes")
    arguments = (tensors, {}, {"x": object()} if group.rank == 0 else {})
    check(TypeError, r"process 0 of .*`state\['x'\]`")
    arguments = (tensors, {"w/m": torch.zeros(3 if group.rank == 1 else 2)}, {})
    check(ValueError, r"`optimizer\['w/m'\]` \(float32 \[3\] in process 1, float32 \[2\] in process 0")
    arguments = (tensors if group.rank else {}, {}, {})
    check(ValueError, r"`model\['w'\]` .*nothing in process 0")
    with pytest.raises(ValueError, match="pass them as `group`"):
        store.save(2, tensors, {}, {})
    store.save(2, tensors, {}, {}, group=group)
    assert store.load_newest_valid(lambda checkpoint: checkpoint.step, group=group) == 2


def damage(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """A damaged shard is noticed by the process that reads it, and all restore the checkpoint before it."""
    store = CheckpointStore(folder)
    for step in (1, 2):
        tensors = {"w": distributed(torch.full((64,), step), Shard(0), mesh), "all": torch.full((4,), step)}
        store.save(step, tensors, {}, {"step": step}, group=group)
    files = sorted(path.name for path in (folder / "model.ckpt-2").iterdir())
    wanted = empty_like(tensors)

    def restore(checkpoint: Checkpoint) -> int:
        checkpoint.load(wanted, {})
        assert checkpoint.state["step"] == checkpoint.step
        return checkpoint.step

    assert f"model-00002-of-{group.num_replicas:05}.safetensors" in files
    for name in files:
        for how in ("flipped", "missing", "cut"):
            path = folder / "model.ckpt-2" / name
            data = path.read_bytes()
            group.exchange(None)
            if group.rank == 0:
                _damage(path, data, how)
            group.exchange(None)
            restored = store.load_newest_valid(restore, group=group)
            assert restored == 1, (name, how)
            assert same_here(
                wanted,
                {"w": distributed(torch.ones(64, dtype=torch.int64), Shard(0), mesh)}
                | {"all": torch.ones(4, dtype=torch.int64)},
            )
            group.exchange(None)
            if group.rank == 0:
                path.write_bytes(data)
            group.exchange(None)
    assert store.load_newest_valid(restore, group=group) == 2
    if group.rank == 0:
        for step in (1, 2):
            path = folder / f"model.ckpt-{step}" / f"model-00002-of-{group.num_replicas:05}.safetensors"
            _damage(path, path.read_bytes(), "flipped")
    group.exchange(None)
    with pytest.raises(CheckpointDamagedError, match="model-00002-of-") as caught:
        store.load_newest_valid(restore, group=group)
    assert str(caught.value).count("model-00002-of-") == 2
    with pytest.raises(RuntimeError, match=r"process 1 of .* failed: integer division"):
        store.load_newest_valid(lambda checkpoint: 1 // (group.rank - 1), group=group)


def background(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """Saves while the tensors go on changing; an error in one process is raised in all of them."""
    store = CheckpointStore(folder)
    saver = BackgroundSaver(store, group=group, timeout_secs=30)
    sharded, replicated = torch.arange(4_000_000), torch.zeros(1000)
    tensors = {"w": distributed(sharded, Shard(0), mesh), "r": distributed(replicated, Replicate(), mesh)}
    for step in (1, 2, 3):
        assert saver.save(step, tensors, {"w/m": tensors["w"]}, {"step": step}) == str(folder / f"model.ckpt-{step}")
        for tensor in tensors.values():
            assert isinstance(tensor, DTensor)
            tensor.to_local().add_(1)
    saver.wait()
    for step in (1, 2, 3):
        expected = {
            "w": distributed(sharded + step - 1, Shard(0), mesh),
            "r": distributed(replicated + step - 1, Replicate(), mesh),
        }
        restored = empty_like(expected)
        Checkpoint(folder / f"model.ckpt-{step}").load_model(restored)
        assert same_here(restored, expected)
    with _small_files(group.rank == 1):
        saver.save(4, tensors, {}, {})
        with pytest.raises(OSError, match=r"process 1 of .*File too large"):
            saver.wait()
    assert not saver.failed
    _check_only(group, folder, 1, 2, 3)
    saver.save(4, tensors, {}, {})
    saver.close()
    assert store.latest() == str(folder / "model.ckpt-4")
    _check_only(group, folder, 1, 2, 3, 4)
    # Processes that leave without closing end when all is written.
    saver.save(5, tensors, {}, {})


def kill(group: GlooGroup, mesh: DeviceMesh, folder: Path) -> None:
    """Saves in the background until somebody kills it; goes on from what is there."""
    store = CheckpointStore(folder, keep_checkpoint_max=2)
    sharded, everywhere = distributed(torch.zeros(1_000_000), Shard(0), mesh), torch.zeros(1000)
    tensors = {"w": sharded, "all": everywhere}
    local = sharded.to_local()

    def restore(checkpoint: Checkpoint) -> int:
        checkpoint.load(tensors, {})
        assert all(bool((tensor == checkpoint.step).all()) for tensor in (local, everywhere))
        return checkpoint.step

    step = store.load_newest_valid(restore, group=group) or 0
    saver = BackgroundSaver(store, group=group, timeout_secs=30)
    while True:
        step += 1
        for tensor in (local, everywhere):
            tensor.fill_(step)
        saver.save(step, tensors, {}, {"step": step})


def kill_jobs(num_processes: int, folder: Path, num_kills: int) -> None:
    """Kills a process of a job at random instants, and looks at what is left."""
    instants = random.Random(7)
    store = CheckpointStore(folder, keep_checkpoint_max=2)
    newest = 0
    for number in range(num_kills):
        pids = start_job(num_processes, str(folder.parent), functools.partial(kill, folder=folder))
        deadline = time.monotonic() + 60
        while _newest_step(store) == newest:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(instants.uniform(0, 0.1))
        before = _newest_step(store)
        for pid in pids[number % num_processes :] + pids[: number % num_processes]:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for pid in pids:
            os.waitpid(pid, 0)

        newest = _newest_step(store)
        assert newest >= before, (newest, before)
        whole = Checkpoint(folder).read_model("w")
        assert torch.equal(whole, torch.full_like(whole, newest))


def _newest_step(store: CheckpointStore) -> int:
    path = store.latest()
    return int(path.rpartition("-")[2]) if path else 0


def _damage(path: Path, data: bytes, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[:-3])
    else:
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 4]) + data[-2:])


def _check_only(group: GlooGroup, folder: Path, *steps: int) -> None:
    group.exchange(None)
    names = sorted(name for name in os.listdir(folder) if name != ".checkpoint.lock")
    assert names == ["checkpoint", *(f"model.ckpt-{step}" for step in steps)], names
    group.exchange(None)


@contextlib.contextmanager
def _small_files(limited: bool) -> Iterator[None]:
    """A limit of 1 MB on the files that this process writes, if `limited`."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20 if limited else limits[0], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


_SCENARIOS = {
    "save": save,
    "load": load,
    "fsdp": fsdp,
    "failures": failures,
    "damage": damage,
    "background": background,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
