"""The index of a `model_dir`: its checkpoints in the order of saving, and which of them are kept for good.

It is the JSON file `checkpoint`, with names relative to its folder, so that a `model_dir` may be moved and copied. The
folders are the truth about what exists; the index only adds order, labels and what retention must remember. What it
does not list is taken in, what is gone is left out, and without an index, or with a damaged one, the checkpoints count
all the same.
"""

import bisect
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torchestimator.checkpoint.filesystem import replace_file
from torchestimator.checkpoint.folders import find, step_of
from torchestimator.checkpoint.manifest import whole_manifest

INDEX_FILE = "checkpoint"
FORMAT = 1

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexEntry:
    """One checkpoint that exists."""

    name: str
    """Its folder's name, `model.ckpt-<step>`."""
    path: str
    """Where it is now; not part of the file."""
    saved_at: float
    """When it was saved, in seconds since 1970."""


@dataclass(frozen=True)
class CheckpointIndex:
    """The checkpoints of a `model_dir`."""

    entries: tuple[IndexEntry, ...] = ()
    """In the order of saving, oldest first."""
    latest: str | None = None
    """The name to restore; the last entry, unless someone edited the file to go back."""
    kept: frozenset[str] = frozenset()
    """Names that `keep_checkpoint_every_n_hours` keeps for good."""
    pinned: Mapping[str, str] = field(default_factory=dict)
    """Label to name: checkpoints such as the best one, which retention never deletes."""
    hours_counted_from: float | None = None
    """When the current period of `keep_checkpoint_every_n_hours` began, in seconds since 1970."""
    is_rebuilt: bool = False
    """Whether the file was missing or damaged, so that only the folders speak; not part of the file."""

    def with_saved(self, entry: IndexEntry) -> "CheckpointIndex":
        """The index after saving `entry`, or saving it again."""
        others = tuple(other for other in self.entries if other.name != entry.name)
        started = entry.saved_at if self.hours_counted_from is None else self.hours_counted_from
        return replace(self, entries=(*others, entry), latest=entry.name, hours_counted_from=started)

    def newest_first(self) -> list[IndexEntry]:
        """The entries in the order in which to try to restore them."""
        entries = [*self.entries[::-1]]
        entries.sort(key=lambda entry: entry.name != self.latest)
        return entries


def read_index(model_dir: str) -> CheckpointIndex:
    """Reads the index and brings it in line with the folders that exist. Writes nothing."""
    folders = find(model_dir)
    listed = _read_file(model_dir)
    index = listed or CheckpointIndex(is_rebuilt=True)
    entries = [replace(entry, path=folders.pop(entry.name)) for entry in index.entries if entry.name in folders]
    unlisted = [entry for name, path in folders.items() if (entry := _unlisted_entry(name, path))]
    for entry in sorted(unlisted, key=lambda entry: (entry.saved_at, step_of(entry.name))):
        bisect.insort_right(entries, entry, key=lambda other: other.saved_at)
    names = {entry.name for entry in entries}
    latest = index.latest
    if entries and (latest not in names or entries[-1] in unlisted):
        latest = entries[-1].name
    return replace(
        index,
        entries=tuple(entries),
        latest=latest if entries else None,
        kept=index.kept & names,
        pinned={label: name for label, name in index.pinned.items() if name in names},
    )


def write_index(model_dir: str, index: CheckpointIndex) -> None:
    """Replaces the index file, durably and in one step."""
    document = {
        "format": FORMAT,
        "latest": index.latest,
        "all": [
            {"name": entry.name, "step": step_of(entry.name), "saved_at": entry.saved_at} for entry in index.entries
        ],
        "kept": sorted(index.kept),
        "pinned": dict(sorted(index.pinned.items())),
        "hours_counted_from": index.hours_counted_from,
    }
    replace_file(os.path.join(model_dir, INDEX_FILE), json.dumps(document, indent=1).encode())


def newest_whole(model_dir: str) -> str | None:
    """The newest checkpoint of a `model_dir` whose files are there in their sizes, as an absolute path, or None."""
    damaged: set[str] = set()
    while True:
        entries = read_index(model_dir).newest_first()
        path = next((entry.path for entry in entries if entry.path not in damaged), None)
        if path is None or whole_manifest(path) is not None:
            return path
        # Unless it was deleted or replaced a moment ago; then the next look at the folder tells.
        if os.path.isdir(path) and whole_manifest(path) is None:
            _logger.warning("The checkpoint %s is damaged and is passed over.", path)
            damaged.add(path)


def _read_file(model_dir: str) -> CheckpointIndex | None:
    path = os.path.join(model_dir, INDEX_FILE)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if data.startswith(b"model_checkpoint_path:"):
        raise ValueError(
            f"{model_dir} belongs to a TensorFlow program, whose checkpoints must not be mixed with others; give a new "
            f"`model_dir`, and `warm_start_from={model_dir!r}` to begin with what was trained there"
        )
    try:
        return _parse(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _logger.warning(
            "The checkpoint index %s is damaged (%r). The checkpoints beside it are used all the same; labels given to "
            "them, such as that of the best one, are lost.",
            path,
            error,
        )
        return None


def _parse(document: dict[str, Any]) -> CheckpointIndex:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}")
    counted_from = document["hours_counted_from"]
    return CheckpointIndex(
        entries=tuple(IndexEntry(str(entry["name"]), "", float(entry["saved_at"])) for entry in document["all"]),
        latest=document["latest"],
        kept=frozenset(map(str, document["kept"])),
        pinned={str(label): str(name) for label, name in document["pinned"].items()},
        hours_counted_from=None if counted_from is None else float(counted_from),
    )


def _unlisted_entry(name: str, path: str) -> IndexEntry | None:
    """The entry of a folder that the index does not know, or None if it was deleted a moment ago."""
    manifest = whole_manifest(path)
    if manifest is not None:
        return IndexEntry(name, path, manifest.saved_at)
    try:
        return IndexEntry(name, path, os.stat(path).st_mtime)
    except FileNotFoundError:
        return None
