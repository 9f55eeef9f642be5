"""tensor_writer: what is written is what was given, in a file that every safetensors reader understands."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.checkpoint.tensors import named_tensors, random_tensor, same_bits
from torchestimator.checkpoint import FileDigest, TensorFile, read_tensors, write_tensors
from torchestimator.checkpoint.filesystem import CHUNK_BYTES


@settings(deadline=None, max_examples=80)
@given(tensors=named_tensors())
def test_every_tensor_comes_back_bit_by_bit(
    tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("round_trip") / "x.safetensors")
    digest = write_tensors(path, tensors, {"note": "value"})
    data = Path(path).read_bytes()
    assert (digest.size, digest.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert TensorFile(path, digest).metadata == {"note": "value"}
    ours = read_tensors(path)
    theirs = load_file(path)
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same_bits(tensor, ours[name])
        assert same_bits(tensor, theirs[name])


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided", "expanded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_tensors_larger_than_a_chunk_are_cut_and_put_together(dtype: torch.dtype, layout: str, tmp_path: Path) -> None:
    rows = CHUNK_BYTES // 1000
    tensors = {
        "small": random_tensor(dtype, (7,)),
        "large": random_tensor(dtype, (rows, 1300), layout),
        "long": random_tensor(dtype, (2, CHUNK_BYTES + 13), layout),
        "after": random_tensor(torch.int16, (3, 5), layout),
    }
    path = str(tmp_path / "x.safetensors")
    write_tensors(path, tensors)
    loaded = load_file(path)
    assert all(same_bits(tensor, loaded[name]) for name, tensor in tensors.items())
    targets = {name: random_tensor(tensor.dtype, tuple(tensor.shape), layout, 1) for name, tensor in tensors.items()}
    if layout != "expanded":
        TensorFile(path).read_into(targets)
        assert all(same_bits(tensor, targets[name]) for name, tensor in tensors.items())


def test_conjugate_and_negative_views_are_written_as_seen(tmp_path: Path) -> None:
    values = torch.randn(3, 4, dtype=torch.complex64)
    tensors = {"conjugate": values.conj(), "plain": values, "negative": values.conj().imag}
    path = str(tmp_path / "x.safetensors")
    write_tensors(path, tensors)
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    targets = {
        "conjugate": torch.zeros_like(values).conj(),
        "plain": torch.zeros_like(values),
        "negative": torch.zeros(3, 4),
    }
    TensorFile(path).read_into(targets)
    assert all(torch.equal(targets[name], tensor) for name, tensor in tensors.items())


def test_tied_tensors_are_stored_once_under_all_names(tmp_path: Path) -> None:
    embedding = nn.Embedding(100, 8)
    decoder = nn.Linear(8, 100, bias=False)
    decoder.weight = embedding.weight
    module = nn.ModuleDict({"embedding": embedding, "decoder": decoder})
    path = str(tmp_path / "x.safetensors")
    digest = write_tensors(path, module.state_dict())
    assert digest.size < 100 * 8 * 4 * 1.2
    assert TensorFile(path).aliases == {"decoder.weight": "embedding.weight"}
    loaded = read_tensors(path)
    assert loaded["decoder.weight"] is loaded["embedding.weight"]
    assert torch.equal(loaded["decoder.weight"], embedding.weight)
    untied = {name: torch.zeros(100, 8) for name in loaded}
    TensorFile(path).read_into(untied)
    assert all(torch.equal(tensor, embedding.weight) for tensor in untied.values())
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["embedding.weight"]


def test_views_of_one_memory_that_differ_are_not_tied(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {
        "base": base,
        "head": base[:6],
        "tail": base[6:],
        "square": base[:9].view(3, 3),
        "turned": base[:9].view(3, 3).t(),
        "bits": base.view(torch.int32),
    }
    path = str(tmp_path / "x.safetensors")
    write_tensors(path, tensors)
    assert not TensorFile(path).aliases
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        ([1.0], "list"),
        (torch.zeros(2, dtype=torch.complex128), "view_as_real"),
        (torch.zeros(2, device="meta"), "no values"),
        (nn.LazyLinear(3).weight, "no values"),
        (torch.eye(3).to_sparse(), "to_dense"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name_and_writes_nothing(
    value: object, fragment: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(TypeError, match=fragment) as caught:
        write_tensors(str(path), {"fine": torch.zeros(1), "net.odd": value})  # type: ignore[dict-item]
    assert "`tensors['net.odd']`" in str(caught.value)
    assert not path.exists()


def test_tensor_subclasses_with_their_own_storage_are_refused(tmp_path: Path) -> None:
    class Wrapped(Tensor):
        @classmethod
        def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
            return function(*args, **(kwargs or {}))

    with pytest.raises(TypeError, match="full_tensor"):
        write_tensors(str(tmp_path / "x"), {"sharded": torch.zeros(3).as_subclass(Wrapped)})


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_reserved_and_unwritable_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name"):
        write_tensors(str(tmp_path / "x"), {name: torch.zeros(1)})


def test_the_metadata_key_of_the_aliases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metadata"):
        write_tensors(str(tmp_path / "x"), {}, {"torchestimator.aliases": "{}"})


def test_the_header_digest_covers_the_header(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    digest = write_tensors(str(path), {"x": torch.zeros(4)})
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    assert digest == FileDigest(len(data), hashlib.sha256(data).hexdigest(), hashlib.sha256(data[:length]).hexdigest())
    assert length % 8 == 0
    assert os.path.getsize(path) == length + 16
