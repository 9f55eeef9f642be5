"""parquet_input_fn: an input_fn over Parquet files."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchestimator.inputs.arrays import ArrayBatches, ArrayTable
from torchestimator.inputs.arrow_columns import columns_of, import_arrow, split_labels, together
from torchestimator.inputs.numpy_input import array_input_fn, check_options
from torchestimator.inputs.tfrecord_input import find_files

_ADVICE = "Give what stands for them: defaults={...: 0.0}; or leave the column out with `columns`."


def parquet_input_fn(
    file_pattern: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    label_key: str | Sequence[str] | None = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    *,
    columns: Sequence[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Callable[..., ArrayBatches]:
    """Returns an input_fn that feeds the rows of Parquet files.

    The files are read whole, now, by pyarrow; batches, shuffling and resuming are those of `numpy_input_fn`. So is the
    share of each of several processes: all of them hold all rows, since a common shuffle takes rows from anywhere. Data
    larger than memory go into TFRecord files (`tfrecord_input_fn`). Lists of equal length make a feature
    [batch, values]; strings become int64 fingerprints.

        train_input_fn = te.inputs.parquet_input_fn("train-*.parquet", label_key="income", shuffle=True)

    Args:
        file_pattern: path of a file, or a pattern with `*`, `?` and `[...]`, or a list of such.
        label_key: the column that is the label (a bare tensor for the model_fn), a list of several (a dict), or None.
        batch_size: rows of a batch, for each process.
        num_epochs: passes over the data; None: without end.
        shuffle: must be given: True for training, False for evaluation and prediction.
        columns: which columns to read, the label among them; None: all.
        defaults: what stands for a missing value, by column name.
        seed: what the shuffled orders are derived from; see `numpy_input_fn`.

    Returns:
        A function for `input_fn=`, whose result can also be iterated directly.

    Raises:
        ImportError: pyarrow is not installed.
        FileNotFoundError: a pattern matches no file.
        TypeError: a column holds no numbers or strings.
        ValueError: a file is no Parquet, a value is missing that has no default, or an argument is out of range.
    """
    check_options(batch_size, num_epochs, shuffle, seed)
    arrow, parquet = import_arrow("parquet_input_fn", "parquet")
    tables = []
    for path in find_files(file_pattern):
        try:
            file = parquet.ParquetFile(path)
        except arrow.ArrowInvalid as error:
            raise ValueError(f"{path} cannot be read as Parquet: {error}.") from error
        with file:
            names = file.schema_arrow.names
            unknown = sorted(set(columns or ()) - set(names))
            if unknown:
                raise ValueError(f"`columns` has names that {path} lacks. Received: {unknown}; it has {names}.")
            tables.append(file.read(None if columns is None else list(columns)))
    table = together(arrow, tables)
    label = label_key if label_key is None or isinstance(label_key, str) else list(label_key)
    features, labels = split_labels(columns_of(table, defaults or {}, _ADVICE), label)
    return array_input_fn(ArrayTable(features, labels), batch_size, num_epochs, bool(shuffle), seed)
