"""tfrecord_input_fn: an input_fn over files of tf.Examples."""

import functools
import glob
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torchestimator.inputs.arrays import ArrayBatches, ArrayTable
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.numpy_input import array_input_fn, check_options
from torchestimator.inputs.record_table import RecordTable
from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature
from torchestimator.mode_keys import ModeKeys


def tfrecord_input_fn(
    file_pattern: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    features: Mapping[str, FixedLenFeature | VarLenFeature],
    label_key: str | Sequence[str] | None = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    *,
    seed: int | None = None,
) -> Callable[..., ArrayBatches]:
    """Returns an input_fn over TFRecord files of tf.Examples (tf.data.experimental.make_batched_features_dataset).

    Batches, shuffling and resuming are those of `numpy_input_fn`: each epoch visits every record once, in an order of
    its own over all files, not one shuffled within a buffer; a resumed run goes on at the very record. For that each
    record's length is read once, and 16 bytes of memory taken for it (and 8 for the order of an epoch); the records
    stay on disk. Every record's checksum is verified. Files compressed with gzip or zlib are recognised, and
    decompressed into a temporary file first. Reading runs in a background thread of the loop, ahead of it.

    Of several processes each reads all record lengths, and then decodes and verifies only the records of its own share,
    which is that of `numpy_input_fn`. A feature of variable length is padded to the longest of its process's batch.

    Strings become int64 fingerprints, for predictions they stay strings.

        train_input_fn = te.inputs.tfrecord_input_fn(
            "data/train-*.tfrecord",
            {"x": te.io.FixedLenFeature([20], torch.float32), "y": te.io.FixedLenFeature([], torch.int64)},
            label_key="y", num_epochs=None, shuffle=True)

    Args:
        file_pattern: path of a file, or a pattern with `*`, `?` and `[...]`, or a list of such; the files of a pattern
            are read in the order of their names.
        features: what the examples hold, labels included; other features are skipped.
        label_key: the feature that is the label (a bare tensor for the model_fn), a list of several (a dict), or None.
        batch_size: examples of a batch, for each process.
        num_epochs: passes over the files; None: without end.
        shuffle: must be given: True for training, False for evaluation and prediction.
        seed: what the shuffled orders are derived from; see `numpy_input_fn`.

    Returns:
        A function for `input_fn=`, whose result can also be iterated directly. The files are opened by its first call;
        files that have changed since then are opened anew by the next.

    Raises:
        FileNotFoundError: a pattern matches no file.
        TypeError: `features` holds no feature specs.
        ValueError: `label_key` is not among `features`, or another argument is out of range.
    """
    check_options(batch_size, num_epochs, shuffle, seed)
    _check_features(features, label_key)
    paths = find_files(file_pattern)
    return functools.partial(
        _open,
        tables=_Tables(paths, features, label_key),
        batch_size=batch_size,
        num_epochs=num_epochs,
        shuffle=bool(shuffle),
        seed=seed,
    )


def find_files(file_pattern: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the files that a pattern, or several, stand for.

    Raises:
        FileNotFoundError: one matches no file.
        ValueError: there is no pattern.
    """
    several = [file_pattern] if isinstance(file_pattern, str | os.PathLike) else file_pattern
    patterns = [os.fspath(each) for each in several]
    if not patterns:
        raise ValueError("`file_pattern` must name at least one file. Received: [].")
    paths = []
    for pattern in patterns:
        # A file whose name has brackets is meant literally.
        found = [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern)))
        if not found:
            raise FileNotFoundError(
                f"`file_pattern` matches no file. Received: {pattern!r}, in the folder {os.getcwd()}."
            )
        paths += found
    return paths


class _Tables:
    """The table of some files, kept from call to call, since opening reads every record's length."""

    def __init__(
        self,
        paths: Sequence[str],
        features: Mapping[str, FixedLenFeature | VarLenFeature],
        label_key: str | Sequence[str] | None,
    ) -> None:
        self._paths = paths
        self._features = features
        self._label_key = label_key
        self._state: list[tuple[int, int]] = []
        self._table: RecordTable | None = None

    def open(self) -> RecordTable:
        state = [(status.st_size, status.st_mtime_ns) for status in map(os.stat, self._paths)]
        if self._table is None or state != self._state:
            self._table, self._state = RecordTable(self._paths, self._features, self._label_key), state
        return self._table


def _open(
    mode: str = ModeKeys.TRAIN,
    config: Any = None,
    input_context: InputContext | None = None,
    *,
    tables: _Tables,
    batch_size: int,
    num_epochs: int | None,
    shuffle: bool,
    seed: int | None,
) -> ArrayBatches:
    # The batches ask a table for what `RecordTable` has too.
    table = cast(ArrayTable, tables.open())
    return array_input_fn(table, batch_size, num_epochs, shuffle, seed)(mode, config, input_context)


def _check_features(features: Any, label_key: str | Sequence[str] | None) -> None:
    example = '{"x": te.io.FixedLenFeature([20], torch.float32)}'
    if not isinstance(features, Mapping) or not features:
        raise TypeError(f"`features` must be a dict of feature specs: {example}. Received: {features!r}.")
    for name, feature in features.items():
        if not isinstance(feature, FixedLenFeature | VarLenFeature):
            raise TypeError(f"`features` must hold feature specs: {example}. Received for {name!r}: {feature!r}.")
    keys = [label_key] if isinstance(label_key, str) else list(label_key or [])
    unknown = [key for key in keys if key not in features]
    if unknown:
        raise ValueError(
            f"`label_key` must be among `features`. Received: {unknown}, with features {sorted(features)}. Labels are "
            "declared like features."
        )
    if len(keys) == len(features):
        raise ValueError(f"`label_key` leaves no feature. Received: label_key={label_key!r}.")
