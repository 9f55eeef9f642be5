"""tensor_part: boxes, which part of a tensor a process has, and the law that cutting and reading undoes itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.checkpoint.job import distributed
from tests.checkpoint.tensors import random_tensor, same_bits, zeros_like
from torchestimator.checkpoint.contents import plan_contents
from torchestimator.checkpoint.tensor_file import TensorFile
from torchestimator.checkpoint.tensor_part import Box, part_of, shard_box, whole
from torchestimator.checkpoint.tensor_shard import TensorShard
from torchestimator.checkpoint.tensor_writer import plan_tensor_file


class _Place:
    """One process's place in a job whose other processes do not exist; it cannot exchange anything."""

    def __init__(self, rank: int, num_replicas: int) -> None:
        self.rank, self.num_replicas = rank, num_replicas

    def exchange(self, document: object) -> list[object]:
        raise AssertionError("nobody answers")


@contextmanager
def _process(rank: int, num_processes: int) -> Iterator[DeviceMesh]:
    """Makes this process number `rank` of a job, as far as DTensors see, without the other processes."""
    dist.init_process_group("fake", rank=rank, world_size=num_processes, store=FakeStore())
    try:
        yield DeviceMesh("cpu", list(range(num_processes)))
    finally:
        dist.destroy_process_group()


_shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple)


@st.composite
def _cut_tensors(draw: st.DrawFn) -> dict[str, tuple[Tensor, Placement, Placement]]:
    """Tensors with the placements in which they are written and read."""
    result = {}
    for name in draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1)):
        shape = draw(_shapes)
        placements = [Replicate(), *(Shard(dim) for dim in range(len(shape)))]
        dtype = draw(st.sampled_from([torch.float32, torch.bool, torch.bfloat16, torch.int64]))
        placement, other = draw(st.sampled_from(placements)), draw(st.sampled_from(placements))
        result[name] = (random_tensor(dtype, shape, seed=draw(st.integers(0, 99))), placement, other)
    return result


@settings(deadline=None, max_examples=40)
@given(tensors=_cut_tensors(), num_writers=st.integers(1, 5), num_readers=st.integers(1, 5), tie=st.booleans())
def test_what_some_processes_write_others_read(
    tensors: dict[str, tuple[Tensor, Placement, Placement]],
    num_writers: int,
    num_readers: int,
    tie: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("law")
    shards = []
    first = next(iter(tensors))
    for rank in range(num_writers):
        with _process(rank, num_writers) as mesh:
            parts = {name: distributed(tensor, placement, mesh) for name, (tensor, placement, _) in tensors.items()}
            if tie:
                parts["tied"] = parts[first]
            plan = plan_tensor_file(parts, "tensors", group=_Place(rank, num_writers))
            path = str(folder / str(rank))
            if plan.is_shard or rank == 0:
                shards.append(TensorShard(path, plan.write(path)))
    file = TensorFile(str(folder), shards=shards)
    if tie:
        tensors = tensors | {"tied": tensors[first]}
    assert all(same_bits(file.read(name), tensor) for name, (tensor, _, _) in tensors.items())
    for rank in range(num_readers):
        with _process(rank, num_readers) as mesh:
            expected = {name: distributed(tensor, placement, mesh) for name, (tensor, _, placement) in tensors.items()}
            targets = {
                name: distributed(zeros_like(tensor), placement, mesh)
                for name, (tensor, _, placement) in tensors.items()
            }
            file.read_into(targets)
            for name, target in targets.items():
                assert isinstance(target, DTensor)
                wanted = expected[name]
                assert isinstance(wanted, DTensor)
                assert same_bits(target.to_local(), wanted.to_local())


def test_a_process_reads_the_shards_that_have_its_part_and_no_other(tmp_path: Path) -> None:
    paths = [tmp_path / str(rank) for rank in range(4)]
    digests = []
    for rank, path in enumerate(paths):
        with _process(rank, 4) as mesh:
            tensors = {"w": distributed(torch.arange(40), Shard(0), mesh)}
            digests.append(plan_tensor_file(tensors, "tensors", group=_Place(rank, 4)).write(str(path)))
    data = bytearray(paths[3].read_bytes())
    data[-1] ^= 1
    paths[3].write_bytes(data)
    shards = [TensorShard(str(path), digest) for path, digest in zip(paths, digests, strict=True)]
    file = TensorFile(str(tmp_path), shards=shards)
    with _process(0, 2) as mesh:
        target = distributed(torch.zeros(40, dtype=torch.int64), Shard(0), mesh)
        file.read_into({"w": target})
        assert isinstance(target, DTensor)
        assert target.to_local().tolist() == list(range(20))
    with _process(1, 2) as mesh, pytest.raises(ValueError, match=f"{paths[3]} is damaged"):
        file.read_into({"w": distributed(torch.zeros(40, dtype=torch.int64), Shard(0), mesh)})
    with pytest.raises(ValueError, match="do not make a whole tensor"):
        TensorFile(str(tmp_path), shards=[shards[0], shards[2]])


def test_other_placements_are_refused_by_name() -> None:
    with _process(0, 4):
        mesh = DeviceMesh("cpu", torch.arange(4).view(2, 2))
        tensor = DTensor.from_local(torch.ones(2, 4), mesh, [Shard(0), Replicate()], run_check=False)
        with pytest.raises(ValueError, match=r"`model\['w'\]` must be replicated, or sharded .* mesh of 2 dimensions"):
            plan_tensor_file({"w": tensor}, "model", group=_Place(0, 4))
        flat = DeviceMesh("cpu", [0, 1, 2, 3])
        uneven = DTensor.from_local(
            torch.ones(1), flat, [Shard(0)], run_check=False, shape=torch.Size([7]), stride=(1,)
        )
        with pytest.raises(ValueError, match=r"shape \[7\], in this process \[1\]"):
            plan_tensor_file({"w": uneven}, "model", group=_Place(0, 4))


def test_a_sharded_tensor_is_not_saved_by_one_process() -> None:
    with _process(1, 2) as mesh:
        tensors = {"w": distributed(torch.ones(4), Shard(0), mesh)}
        with pytest.raises(ValueError, match="full_tensor"):
            plan_contents(1, tensors, {}, {}, _Place(0, 1))


@settings(deadline=None)
@given(size=st.integers(0, 30), count=st.integers(1, 9))
def test_shards_are_those_of_torch_chunk(size: int, count: int) -> None:
    chunks = torch.arange(size).chunk(count)
    for index in range(count):
        box = shard_box((3, size), 1, index, count)
        expected = chunks[index].tolist() if index < len(chunks) else []
        assert torch.arange(size)[box.slices[1]].tolist() == expected


@settings(deadline=None)
@given(data=st.data())
def test_boxes_overlap_where_their_elements_are_the_same(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    boxes = []
    for _ in range(2):
        starts = [data.draw(st.integers(0, size)) for size in shape]
        sizes = [data.draw(st.integers(0, size - start)) for size, start in zip(shape, starts, strict=True)]
        boxes.append(Box(tuple(starts), tuple(sizes)))
    first, second = boxes
    elements = torch.arange(whole(shape).num_elements).view(shape)
    shared = first.overlap(second)
    common = set(elements[first.slices].flatten().tolist()) & set(elements[second.slices].flatten().tolist())
    assert shared.num_elements == len(common)
    if common:
        seen = elements[first.slices][shared.seen_from(first).slices]
        assert seen.flatten().tolist() == sorted(common)


def test_a_plain_tensor_is_all_here() -> None:
    tensor = torch.ones(2, 3)
    part = part_of(tensor, "`w`")
    assert (part.shape, part.box, part.shard_dim) == ((2, 3), whole((2, 3)), None)
    assert part.local is tensor
