"""csv_input_fn: an input_fn over CSV files."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchestimator.inputs.arrays import ArrayBatches, ArrayTable
from torchestimator.inputs.arrow_columns import columns_of, import_arrow, split_labels, together
from torchestimator.inputs.numpy_input import array_input_fn, check_options
from torchestimator.inputs.tfrecord_input import find_files

_ADVICE = "Give what stands for them: defaults={...: 0.0}; or leave the column out with `columns`."


def csv_input_fn(
    file_pattern: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    label_key: str | Sequence[str] | None = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    *,
    column_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    delimiter: str = ",",
    skip_rows: int = 0,
    seed: int | None = None,
) -> Callable[..., ArrayBatches]:
    """Returns an input_fn that feeds the rows of CSV files (tf.data.experimental.make_csv_dataset).

    The files are read whole, now, by pyarrow; batches, shuffling and resuming are those of `numpy_input_fn`. So is the
    share of each of several processes: all of them hold all rows, since a common shuffle takes rows from anywhere. Data
    larger than memory go into TFRecord files (`tfrecord_input_fn`). Columns are int64, float32 or strings, as all
    their values are; strings lose the spaces around them and become int64 fingerprints.

        train_input_fn = te.inputs.csv_input_fn("train.csv", label_key="income", num_epochs=None, shuffle=True)

    Args:
        file_pattern: path of a file, or a pattern with `*`, `?` and `[...]`, or a list of such; each with one header.
        label_key: the column that is the label (a bare tensor for the model_fn), a list of several (a dict), or None.
        batch_size: rows of a batch, for each process.
        num_epochs: passes over the data; None: without end.
        shuffle: must be given: True for training, False for evaluation and prediction.
        column_names: names for files without a header.
        columns: which columns to read, the label among them; None: all.
        defaults: what stands for an empty field, by column name; its type is that of the column: 0, 0.0 or "".
        delimiter: between the fields, one character.
        skip_rows: lines before the header, or before the first row.
        seed: what the shuffled orders are derived from; see `numpy_input_fn`.

    Returns:
        A function for `input_fn=`, whose result can also be iterated directly.

    Raises:
        ImportError: pyarrow is not installed.
        FileNotFoundError: a pattern matches no file.
        ValueError: a file is no such CSV, a field is empty that has no default, or an argument is out of range.
    """
    check_options(batch_size, num_epochs, shuffle, seed)
    arrow, csv = import_arrow("csv_input_fn", "csv")
    defaults = defaults or {}
    types = {name: _type_of(arrow, name, default) for name, default in defaults.items()}
    tables = []
    for path in find_files(file_pattern):
        try:
            table = csv.read_csv(
                path,
                csv.ReadOptions(column_names=column_names, skip_rows=skip_rows),
                csv.ParseOptions(delimiter=delimiter),
                # "NA" and "null" are words like any other; only an empty field is missing.
                csv.ConvertOptions(
                    column_types=types, include_columns=columns, null_values=[""], strings_can_be_null=True
                ),
            )
        except (arrow.ArrowInvalid, arrow.ArrowKeyError) as error:
            raise ValueError(f"{path} cannot be read as CSV: {error}.") from error
        tables.append(_plain(arrow, table))
    table = together(arrow, tables)
    label = label_key if label_key is None or isinstance(label_key, str) else list(label_key)
    features, labels = split_labels(columns_of(table, defaults, _ADVICE), label)
    return array_input_fn(ArrayTable(features, labels), batch_size, num_epochs, bool(shuffle), seed)


def _type_of(arrow: Any, name: str, default: Any) -> Any:
    types = {bool: arrow.bool_(), int: arrow.int64(), float: arrow.float32(), str: arrow.string()}
    if type(default) in types:
        return types[type(default)]
    raise TypeError(f"`defaults` must hold numbers, bools or strings. Received for {name!r}: {default!r}.")


def _plain(arrow: Any, table: Any) -> Any:
    """Floats as float32, and strings without the spaces around them."""
    for index, field in enumerate(table.schema):
        column = table.column(index)
        if arrow.types.is_floating(field.type):
            column = column.cast(arrow.float32())
        elif arrow.types.is_string(field.type):
            texts = [None if text is None else text.strip() or None for text in column.to_pylist()]
            column = arrow.array(texts, arrow.string())
        table = table.set_column(index, field.name, column)
    return table
