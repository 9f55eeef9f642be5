"""tensor_file: reading back, into memory of all kinds, and noticing damage."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.checkpoint.tensors import contiguous, named_tensors, random_tensor, same_bits
from torchestimator.checkpoint import CheckpointDamagedError, TensorFile, read_tensors, write_tensors
from torchestimator.checkpoint.filesystem import CHUNK_BYTES


@settings(deadline=None, max_examples=50)
@given(tensors=named_tensors())
def test_files_of_the_reference_library_are_read(
    tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("reference") / "x.safetensors")
    save_file({name: contiguous(tensor) for name, tensor in tensors.items()}, path)
    loaded = read_tensors(path)
    assert all(same_bits(tensor, loaded[name]) for name, tensor in tensors.items())
    file = TensorFile(path)
    assert file.shapes == {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    assert all(same_bits(tensor, file.read(name)) for name, tensor in tensors.items())


def test_a_file_with_unaligned_tensors_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = (
        b'{"flag":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},'
        b'"wide":{"dtype":"F64","shape":[2],"data_offsets":[3,19]}}'
    )
    values = torch.tensor([1.5, -2.5], dtype=torch.float64)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1\2\3" + values.numpy().tobytes())
    loaded = read_tensors(str(path))
    assert loaded["flag"].tolist() == [1, 2, 3]
    assert torch.equal(loaded["wide"], values)


def test_reading_into_parameters_keeps_them_leaves_and_in_place(tmp_path: Path) -> None:
    saved = nn.Sequential(nn.Linear(600, 700), nn.BatchNorm1d(700))
    path = str(tmp_path / "x.safetensors")
    digest = write_tensors(path, saved.state_dict())
    module = nn.Sequential(nn.Linear(600, 700), nn.BatchNorm1d(700))
    addresses = [parameter.data_ptr() for parameter in module.parameters()]
    TensorFile(path, digest).read_into({**dict(module.named_parameters()), **dict(module.named_buffers())})
    assert [parameter.data_ptr() for parameter in module.parameters()] == addresses
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in module.parameters())
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in saved.state_dict().items())


def test_floats_may_change_their_precision_and_nothing_else_may(tmp_path: Path) -> None:
    values = torch.randn(CHUNK_BYTES // 2)
    path = str(tmp_path / "x.safetensors")
    digest = write_tensors(path, {"x": values})
    target = torch.zeros_like(values, dtype=torch.bfloat16)
    TensorFile(path, digest).read_into({"x": target})
    assert torch.equal(target, values.bfloat16())
    with pytest.raises(ValueError, match=r"file: float32 \[\d+\], wanted: int32 \[\d+\]"):
        TensorFile(path, digest).read_into({"x": torch.zeros_like(values, dtype=torch.int32)})


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_part_of_a_file_is_read_when_asked(is_verified: bool, tmp_path: Path) -> None:
    tensors = {f"t{index}": random_tensor(torch.float32, (300_000 + index,), seed=index) for index in range(12)}
    path = str(tmp_path / "x.safetensors")
    digest = write_tensors(path, tensors)
    targets = {"t3": torch.zeros(300_003), "t7": torch.zeros(300_007), "new": torch.ones(2)}
    differences = TensorFile(path, digest if is_verified else None).read_into(targets, strict=False)
    assert differences.missing == ("new",)
    assert set(differences.unexpected) == tensors.keys() - {"t3", "t7"}
    assert same_bits(targets["t3"], tensors["t3"])
    assert same_bits(targets["t7"], tensors["t7"])
    assert torch.equal(targets["new"], torch.ones(2))


def test_differences_are_listed_and_change_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    write_tensors(path, {"same": torch.ones(2), "w": torch.ones(3, 4), **{f"old{i}": torch.ones(1) for i in range(13)}})
    targets = {"same": torch.zeros(2), "w": torch.zeros(3, 5), "new": torch.zeros(1)}
    with pytest.raises(ValueError, match="another model") as caught:
        TensorFile(path).read_into(targets)
    message = str(caught.value)
    assert "w (file: float32 [3, 4], wanted: float32 [3, 5])" in message
    assert "missing in the file: new" in message
    assert "old9, and 3 more" in message
    assert not any(tensor.any() for tensor in targets.values())


@settings(deadline=None, max_examples=60)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(position: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("flip") / "x.safetensors"
    digest = write_tensors(str(path), {"x": torch.arange(40.0), "y": torch.arange(3)})
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    path.write_bytes(data)
    for read in (lambda file: file.read_into({}, strict=False), lambda file: file.read("y"), TensorFile.verify):
        with pytest.raises(CheckpointDamagedError, match=str(path)):
            read(TensorFile(str(path), digest))


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_cut_is_found_even_without_a_digest(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.safetensors"
    digest = write_tensors(str(path), {"x": torch.arange(40.0), "y": torch.arange(3)})
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointDamagedError, match=f"cut at .* of {len(data)} bytes"):
        TensorFile(str(path), digest)
    with pytest.raises(CheckpointDamagedError, match="cut"):
        TensorFile(str(path))


def test_a_longer_file_and_a_wrong_digest_are_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    digest = write_tensors(str(path), {"x": torch.arange(4.0)})
    with pytest.raises(CheckpointDamagedError, match="sha256"):
        TensorFile(str(path), replace(digest, sha256="0" * 64)).read("x")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointDamagedError, match="were written"):
        TensorFile(str(path), digest)
    with pytest.raises(CheckpointDamagedError, match="header tells"):
        TensorFile(str(path))


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}',
        b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}}',
        b'{"x":{"dtype":"F5","shape":[1],"data_offsets":[0,4]}}',
        b'{"x":3}',
        b'{"__metadata__":{"torchestimator.aliases":"{\\"a\\":\\"b\\"}"}}',
        b"\xff\xfe",
    ],
)
def test_a_senseless_header_is_damage(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointDamagedError, match="header"):
        TensorFile(str(path))


def test_an_unknown_name_and_a_missing_file_have_clear_errors(tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match=r"x\.safetensors"):
        TensorFile(path)
    write_tensors(path, {"x": torch.ones(1)})
    with pytest.raises(ValueError, match=r"it has x\. Received: 'y'"):
        TensorFile(path).read("y")
