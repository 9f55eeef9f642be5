"""Columns of Arrow tables as arrays: what `csv_input_fn` and `parquet_input_fn` share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def import_arrow(function: str, module: str) -> tuple[Any, Any]:
    """Returns `pyarrow` and one of its modules.

    Args:
        function: who needs it, for the error.
        module: such as "csv".

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import csv, parquet
    except ImportError as error:
        raise ImportError(f"`{function}` needs pyarrow: pip install torchestimator[arrow]") from error
    return pyarrow, {"csv": csv, "parquet": parquet}[module]


def columns_of(table: Any, defaults: Mapping[str, Any], advice: str) -> dict[str, NDArray[Any]]:
    """Returns the columns of an Arrow table.

    Args:
        table: a `pyarrow.Table`.
        defaults: what stands for a missing value, by column name.
        advice: how a default is given, for errors.

    Returns:
        [rows] arrays of numbers or of objects that are strings, and [rows, values] ones of lists of equal length.

    Raises:
        TypeError: a column is of a type that no model can use.
        ValueError: there is no row, a value is missing that has no default, or a column's lists differ in length.
    """
    names = table.column_names
    unknown = sorted(set(defaults) - set(names))
    if unknown:
        raise ValueError(f"`defaults` has names that are no columns. Received: {unknown}; the columns are {names}.")
    return {name: _array(name, table.column(name), defaults, advice) for name in names}


def together(arrow: Any, tables: Sequence[Any]) -> Any:
    """Returns several Arrow tables, one after the other, as one; integers give way to floats.

    Raises:
        ValueError: two columns of a table have one name, or the tables differ in their columns.
    """
    for names in [table.column_names for table in tables]:
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"The columns must have different names. Received more than once: {twice}.")
        if sorted(names) != sorted(tables[0].column_names):
            raise ValueError(
                "The files of `file_pattern` must have the same columns. "
                f"Received: {tables[0].column_names} and {names}."
            )
    try:
        return arrow.concat_tables(tables, promote_options="permissive")
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        raise ValueError(f"The files of `file_pattern` have columns of different types: {error}.") from error


def split_labels(
    columns: dict[str, NDArray[Any]], label_key: str | list[str] | None
) -> tuple[dict[str, NDArray[Any]], Any]:
    """Takes the labels out of the columns: an array, a dict of arrays, or None.

    Raises:
        ValueError: there is no such column.
    """
    keys = [label_key] if isinstance(label_key, str) else list(label_key or [])
    unknown = [key for key in keys if key not in columns]
    if unknown:
        raise ValueError(f"`label_key` must be a column. Received: {unknown}; the columns are {list(columns)}.")
    features = {name: column for name, column in columns.items() if name not in keys}
    if not features:
        raise ValueError(f"`label_key` leaves no feature. Received: label_key={label_key!r}.")
    if label_key is None:
        return features, None
    return features, columns[label_key] if isinstance(label_key, str) else {key: columns[key] for key in keys}


def _array(name: str, column: Any, defaults: Mapping[str, Any], advice: str) -> NDArray[Any]:
    if hasattr(column.type, "value_type") and hasattr(column.type, "index_type"):  # categories
        column = column.cast(column.type.value_type)
    if not len(column):
        raise ValueError("The files hold no row.")
    if column.null_count:
        if name not in defaults:
            row = column.is_null().to_pylist().index(True)
            raise ValueError(
                f"The column {name!r} has {column.null_count} missing values, the first in row {row}. {advice}"
            )
        column = column.fill_null(defaults[name])
    if hasattr(column.type, "value_type"):
        return _rows_of_lists(name, column)
    array: NDArray[Any] = np.asarray(column.to_numpy())
    is_text = array.dtype == object and isinstance(array[0], str | bytes)
    if array.dtype.kind not in "biuf" and not is_text:
        raise TypeError(
            f"The column {name!r} must hold numbers or strings. Received: {column.type}. Convert it before, or leave "
            "it out with `columns`."
        )
    return array


def _rows_of_lists(name: str, column: Any) -> NDArray[Any]:
    lists = column.to_pylist()
    lengths = {len(each) for each in lists}
    if len(lengths) != 1:
        raise ValueError(
            f"The column {name!r} has lists of different lengths, which make no tensor. Received: lengths "
            f"{min(lengths)} to {max(lengths)}. Pad them to one length before."
        )
    array = np.asarray(lists)
    dtype = str(column.type.value_type)
    return array.astype(np.float32) if dtype == "float" else array
