"""A job of several processes for the tests of this folder: its group, its tensors, and starting it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from tests.checkpoint.tensors import contiguous, random_tensor, same_bits, zeros_like
from torchestimator.checkpoint.tensor_header import DTYPE_NAMES

_TIMEOUT_SECS = 60


class GlooGroup:
    """All processes of torch.distributed's default group."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.num_replicas = dist.get_world_size()

    def exchange(self, document: Any) -> list[Any]:
        data = torch.tensor(list(json.dumps(document).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.num_replicas)]
        dist.all_gather(sizes, torch.tensor([len(data)]))
        largest = max(int(size) for size in sizes)
        padded = torch.cat([data, torch.zeros(largest - len(data), dtype=torch.uint8)])
        parts = [torch.empty_like(padded) for _ in range(self.num_replicas)]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(parts, sizes, strict=True)]


def join(method: str = "env://", rank: int = -1, num_replicas: int = -1) -> tuple[GlooGroup, DeviceMesh]:
    """Makes this process one of a job."""
    torch.set_num_threads(1)
    timeout = timedelta(seconds=_TIMEOUT_SECS)
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=num_replicas, timeout=timeout)
    return GlooGroup(), DeviceMesh("cpu", list(range(dist.get_world_size())))


def start_job(num_processes: int, folder: str, work: Callable[[GlooGroup, DeviceMesh], None]) -> list[int]:
    """Forks the processes of a job, each of which does `work`, and returns their ids.

    Only for a process without threads; they meet in a file in `folder`.
    """
    pids = []
    store = os.path.join(folder, f"store-{time.monotonic_ns()}")
    for rank in range(num_processes):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        status = 1
        try:
            work(*join(f"file://{store}", rank, num_processes))
            # As the end of a main program does, which `os._exit` leaves out.
            for thread in threading.enumerate():
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
            status = 0
        except BaseException:  # noqa: BLE001 (the parent gets the status)
            traceback.print_exc()
        finally:
            os._exit(status)
    return pids


def fork_job(num_processes: int, folder: str, work: Callable[[GlooGroup, DeviceMesh], None]) -> None:
    """Runs `work` in each process of a job; kills them all when one fails."""
    pids = start_job(num_processes, folder, work)
    failed = False
    for _ in range(num_processes):
        pid, status = os.wait()
        pids.remove(pid)
        if status and not failed:
            failed = True
            for other in pids:
                os.kill(other, signal.SIGKILL)
    assert not failed


def run_driver(arguments: Sequence[str], launcher: Sequence[str] = ()) -> None:
    """Runs `tests.checkpoint.job_driver` in a process, or with torchrun's arguments in several."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *launcher, "tests.checkpoint.job_driver", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=5 * _TIMEOUT_SECS,
    )
    assert result.returncode == 0, result.stderr


def whole_tensors() -> dict[str, tuple[Tensor, Placement]]:
    """The tensors that the job saves, as a single process would have them, and how the job places them."""
    tensors: dict[str, tuple[Tensor, Placement]] = {
        "even": (random_tensor(torch.int32, (8, 3), seed=1), Shard(0)),
        "uneven": (random_tensor(torch.int32, (7, 5), seed=2), Shard(0)),
        "few_rows": (random_tensor(torch.float32, (2, 3), seed=3), Shard(0)),
        "one": (random_tensor(torch.int64, (1,), seed=4), Shard(0)),
        "nothing": (random_tensor(torch.int32, (0, 4), seed=5), Shard(0)),
        "columns": (random_tensor(torch.bfloat16, (5, 6, 2), seed=6), Shard(1)),
        "last": (random_tensor(torch.float64, (3, 2, 9), seed=7), Shard(2)),
        "copied": (random_tensor(torch.int32, (3, 3), seed=8), Replicate()),
        "step": (torch.tensor(5), Replicate()),
        "large": (random_tensor(torch.int32, (1100, 1000), seed=9), Shard(0)),
        "large_columns": (random_tensor(torch.int32, (1100, 1000), seed=10), Shard(1)),
    }
    for index, dtype in enumerate(sorted(DTYPE_NAMES, key=str)):
        tensors[f"dtypes/{index}"] = (random_tensor(dtype, (6, 2), seed=20 + index), Shard(0))
    return tensors


def distributed(tensor: Tensor, placement: Placement, mesh: DeviceMesh) -> DTensor:
    """A DTensor of this process's part of `tensor`, as `torch.chunk` cuts; nothing is sent."""
    local = contiguous(tensor)
    if isinstance(placement, Shard):
        parts = torch.chunk(tensor, mesh.size(), placement.dim)
        rank = mesh.get_local_rank()
        local = contiguous(parts[rank]) if rank < len(parts) else tensor.narrow(placement.dim, 0, 0)
    return DTensor.from_local(
        local, mesh, [placement], run_check=False, shape=tensor.shape, stride=torch.empty(tensor.shape).stride()
    )


def placed(mesh: DeviceMesh, turned: bool = False) -> dict[str, Tensor]:
    """The job's tensors; `turned`: those that are cut are cut along another dimension."""
    result: dict[str, Tensor] = {"plain": torch.arange(10.0)}
    for name, (tensor, placement) in whole_tensors().items():
        is_turned = turned and isinstance(placement, Shard)
        result[name] = distributed(tensor, Shard((placement.dim + 1) % tensor.dim()) if is_turned else placement, mesh)
    result["tied"] = result["uneven"]
    return result


def empty_like(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Zeros of the same kinds to fill; none are tied."""
    return {
        name: DTensor.from_local(
            zeros_like(value.to_local()),
            value.device_mesh,
            value.placements,
            run_check=False,
            shape=value.shape,
            stride=value.stride(),
        )
        if isinstance(value, DTensor)
        else zeros_like(value)
        for name, value in values.items()
    }


def same_here(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether this process holds the same bits of all tensors."""
    return first.keys() == second.keys() and all(
        same_bits(*(each.to_local() if isinstance(each, DTensor) else each for each in (first[name], second[name])))
        for name in first
    )
