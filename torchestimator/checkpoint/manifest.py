"""The manifest of a checkpoint: what its files must be. It is written last, and vouches for itself too."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import FileDigest
from torchestimator.checkpoint.filesystem import write_file

FORMAT = 1

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"

_SHARD = re.compile(r"(.+)-\d{5,}-of-\d{5,}(\..+)")


def shard_name(name: str, rank: int, num_shards: int) -> str:
    """What the file `name` is called when each process writes a part of it: `model-00001-of-00004.safetensors`."""
    stem, ending = os.path.splitext(name)
    return f"{stem}-{rank + 1:05}-of-{num_shards:05}{ending}"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of."""

    step: int
    """The global step that was reached."""
    saved_at: float
    """When it was saved, in seconds since 1970."""
    files: Mapping[str, FileDigest]
    """Its files with their digests, by name."""

    def shards_of(self, name: str) -> list[str]:
        """The files that `name` consists of: itself, or those that each process of a job wrote, by rank."""
        return (
            [name] if name in self.files else sorted(file for file in self.files if _SHARD.sub(r"\1\2", file) == name)
        )


def write_manifest(folder: str, manifest: Manifest) -> None:
    """Writes a checkpoint's manifest and waits until it is on disk."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "step": manifest.step,
        "saved_at": manifest.saved_at,
        "files": {name: _digest_fields(digest) for name, digest in sorted(manifest.files.items())},
    }
    document["sha256"] = _fingerprint(document)
    write_file(os.path.join(folder, MANIFEST_FILE), json.dumps(document, indent=1).encode())


def read_manifest(folder: str) -> Manifest:
    """Reads a checkpoint's manifest and checks that its files are there in their sizes. Their contents are not read.

    Args:
        folder: The checkpoint.

    Raises:
        CheckpointDamagedError: The manifest or a file is missing or damaged.
        ValueError: The checkpoint was written by a later version of this library.
    """
    path = os.path.join(folder, MANIFEST_FILE)
    try:
        with open(path, "rb") as file:
            document = json.load(file)
        is_intact = document.pop("sha256") == _fingerprint(document)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointDamagedError(path, "it is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointDamagedError(path, f"it cannot be read ({error!r})") from error
    if not is_intact:
        raise CheckpointDamagedError(path, "its sha256 differs from the one it was written with")
    if document["format"] != FORMAT:
        raise ValueError(
            f"{folder} was written by a later version of torchestimator; install that one to read it. "
            f"Received: format {document['format']}, this version reads format {FORMAT}"
        )
    digests = {name: FileDigest(**fields) for name, fields in document["files"].items()}
    for name in sorted(digests):
        _check_file(os.path.join(folder, name), digests[name])
    return Manifest(document["step"], document["saved_at"], digests)


def whole_manifest(folder: str) -> Manifest | None:
    """The manifest of a checkpoint that passes the cheap check of `read_manifest`, else None."""
    try:
        return read_manifest(folder)
    except CheckpointDamagedError:
        return None


def _check_file(path: str, digest: FileDigest) -> None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointDamagedError(path, "it is missing") from None
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointDamagedError(path, "it is not a file")
    digest.check_size(path, status.st_size)


def _digest_fields(digest: FileDigest) -> dict[str, Any]:
    return {name: value for name, value in vars(digest).items() if value is not None}


def _fingerprint(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
