"""manifest: it vouches for the files, and for itself."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.checkpoint import CheckpointDamagedError
from torchestimator.checkpoint.digest import digest_of
from torchestimator.checkpoint.manifest import Manifest, read_manifest, whole_manifest, write_manifest

_DATA = {"model.safetensors": b"model", "optimizer.safetensors": b"slots", "state.json": b"{}"}


def _write(folder: Path) -> Manifest:
    for name, data in _DATA.items():
        (folder / name).write_bytes(data)
    manifest = Manifest(7, 12.25, {name: digest_of(data) for name, data in _DATA.items()})
    write_manifest(str(folder), manifest)
    return manifest


def test_it_comes_back(tmp_path: Path) -> None:
    manifest = _write(tmp_path)
    assert read_manifest(str(tmp_path)) == manifest == whole_manifest(str(tmp_path))


@pytest.mark.parametrize("name", [*_DATA, "manifest.json"])
def test_missing_cut_and_replaced_files_are_named(name: str, tmp_path: Path) -> None:
    _write(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointDamagedError, match=name):
        read_manifest(str(tmp_path))
    assert whole_manifest(str(tmp_path)) is None
    path.unlink()
    with pytest.raises(CheckpointDamagedError, match=f"{name} is damaged: it is missing"):
        read_manifest(str(tmp_path))
    if name != "manifest.json":
        path.mkdir()
        with pytest.raises(CheckpointDamagedError, match="not a file"):
            read_manifest(str(tmp_path))


@settings(deadline=None, max_examples=80)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_changes_nothing(
    position: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    manifest = _write(folder)
    path = folder / "manifest.json"
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    path.write_bytes(data)
    # White space between the fields is free: only there may a flipped bit go unnoticed.
    assert whole_manifest(str(folder)) in (None, manifest)


def test_a_missing_folder_is_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointDamagedError, match="missing"):
        read_manifest(os.path.join(tmp_path, "model.ckpt-1"))
