"""Rows of TFRecord files, in any order: what `ArrayTable` is to arrays in memory."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.io.example_bulk import Spans, Values
from torchestimator.io.example_each import MalformedExampleError
from torchestimator.io.example_parser import decode_spans, shaped
from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature
from torchestimator.io.record_file import RecordFile
from torchestimator.io.record_frame import HEADER

_Feature: TypeAlias = FixedLenFeature | VarLenFeature

_SAMPLED_ROWS = 64
"""Records that go into the hash by which files are recognised."""


class RecordTable:
    """The tf.Examples of some files as rows.

    Opening reads every record's length once and keeps where it is, 16 bytes for each: that makes an exact shuffle, and
    going on after any row, a matter of a permutation. The records themselves stay on disk, mapped into memory.

    Args:
        paths: the files, in order.
        features: what to decode, by feature name.
        label_keys: which of them are the labels: a name, for bare labels; several, for a dict; None.

    Raises:
        RecordDamagedError: a file is damaged.
        ValueError: the files hold no record.
    """

    in_memory = False

    def __init__(
        self, paths: Sequence[str], features: Mapping[str, _Feature], label_keys: str | Sequence[str] | None
    ) -> None:
        self._features = dict(sorted(features.items()))
        self._label_keys = label_keys
        self._files = [RecordFile(path) for path in paths]
        blocks = [list(file.blocks()) for file in self._files]
        none = np.zeros(0, np.int64)
        self._starts = np.concatenate([none, *(starts for file in blocks for starts, _ in file)])
        self._ends = np.concatenate([none, *(ends for file in blocks for _, ends in file)])
        counts = [sum(len(starts) for starts, _ in file) for file in blocks]
        self._first_rows = np.cumsum([0, *counts])
        self.num_rows = len(self._starts)
        if not self.num_rows:
            raise ValueError(f"The files hold no record. Received: {list(paths)[:5]}.")

    def bytes_per_row(self) -> int:
        """Bytes of an average record."""
        return max(1, int((self._ends - self._starts).sum()) // self.num_rows)

    def batches(self, rows: NDArray[np.int64], batch_size: int, keep_strings: bool) -> Iterator[tuple[Any, Any]]:
        """Returns the given rows as `(features, labels)` batches; see `ArrayTable.batches`.

        Raises:
            RecordDamagedError: a record's checksum differs.
            ValueError: a record is no tf.Example, or not one of these features; the message names file and byte.
        """
        values = self._decode(rows)
        columns = {
            name: _cut(values[name], feature, batch_size, keep_strings) for name, feature in self._features.items()
        }
        for index in range(-(-len(rows) // batch_size)):
            batch = {name: column[index] for name, column in columns.items()}
            yield _split(batch, self._label_keys)

    def identity(self) -> dict[str, Any]:
        """Returns by what the same files are recognised later: lengths of all records, and a hash of some."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(np.ascontiguousarray(self._ends - self._starts).tobytes())
        for row in np.linspace(0, self.num_rows - 1, min(self.num_rows, _SAMPLED_ROWS)).astype(np.int64):
            file = self._files[np.searchsorted(self._first_rows, row, side="right") - 1]
            digest.update(file.data[self._starts[row] : self._ends[row]].tobytes())
        return {
            "rows": self.num_rows,
            "files": [os.path.basename(file.path) for file in self._files],
            "columns": {name: feature.to_json() for name, feature in self._features.items()},
            "sample": digest.hexdigest(),
        }

    def _decode(self, rows: NDArray[np.int64]) -> dict[str, Values]:
        owners = np.searchsorted(self._first_rows, rows, side="right") - 1
        spans = []
        for owner in np.unique(owners):
            file, chosen = self._files[owner], rows[owners == owner]
            starts, ends = self._starts[chosen], self._ends[chosen]
            file.check(starts, ends)
            spans.append(Spans(file.data, starts, ends))
        try:
            if len(spans) == 1:
                return decode_spans(spans[0], self._features)
            together, places = _joined(spans), np.argsort(np.argsort(owners, kind="stable"), kind="stable")
            ordered = Spans(together.buffer, together.starts[places], together.ends[places])
            return decode_spans(ordered, self._features)
        except MalformedExampleError as error:
            row = rows[error.row]
            path = self._files[np.searchsorted(self._first_rows, row, side="right") - 1].path
            raise ValueError(f"{path}, the record at byte {self._starts[row] - HEADER.size}: {error}") from error


def _joined(spans: Sequence[Spans]) -> Spans:
    """Ranges of several buffers as ranges of one, which holds just them."""
    parts = [each.buffer[start:end] for each in spans for start, end in zip(each.starts, each.ends, strict=True)]
    ends = np.cumsum(np.concatenate([each.ends - each.starts for each in spans]))
    return Spans(np.concatenate(parts), np.concatenate([np.zeros(1, np.int64), ends[:-1]]), ends)


def _cut(values: Values, feature: _Feature, batch_size: int, keep_strings: bool) -> list[Any]:
    """The batches of one column: tensors; or arrays of strings, if they are kept."""
    array, counts = values
    if feature.kind.name == "string" and not keep_strings:
        array = fingerprint64(array, name="x")
    batches = []
    for begin in range(0, len(array), batch_size):
        part = array[begin : begin + batch_size]
        if isinstance(feature, VarLenFeature):
            part = part[:, : int(counts[begin : begin + batch_size].max())]
        part = np.ascontiguousarray(shaped(part, feature))
        # A tensor of its own for each batch: what a model does to it in place reaches no other. And in memory from
        # torch, at a multiple of 64 bytes: where batches begin elsewhere, a resumed run computes other last bits.
        batches.append(part if part.dtype == object else torch.from_numpy(part).clone())
    return batches


def _split(batch: dict[str, Any], label_keys: str | Sequence[str] | None) -> tuple[Any, Any]:
    if label_keys is None:
        return batch, None
    if isinstance(label_keys, str):
        label = batch.pop(label_keys)
        return batch, label
    return batch, {key: batch.pop(key) for key in label_keys}
