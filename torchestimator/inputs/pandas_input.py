"""pandas_input_fn: an input_fn over a DataFrame in memory."""

from collections.abc import Callable
from typing import Any

from torchestimator.inputs.arrays import ArrayBatches, ArrayTable
from torchestimator.inputs.batch import dict_of_columns
from torchestimator.inputs.numpy_input import array_input_fn, check_options


def pandas_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    *,
    target_column: str = "target",
    seed: int | None = None,
    queue_capacity: None = None,
    num_threads: None = None,
) -> Callable[..., ArrayBatches]:
    """Returns an input_fn that feeds a DataFrame in batches (tf.compat.v1.estimator.inputs.pandas_input_fn).

    Each column becomes a feature of shape [batch] under its name; strings (Arrow-backed and categorical ones too)
    become int64 fingerprints. Batches, shuffling, resuming and several processes are as in `numpy_input_fn`.

        train_input_fn = te.inputs.pandas_input_fn(frame[["age", "city"]], frame["income"], shuffle=True)

    Args:
        x: the features, a DataFrame.
        y: the labels: a Series (a bare tensor for the model_fn), a DataFrame (a dict), or None. Its index must be that
            of `x`.
        batch_size: rows of a batch, for each process.
        num_epochs: passes over the data; None: without end.
        shuffle: must be given: True for training, False for evaluation and prediction.
        target_column: the name under which a Series `y` stands beside the features; no feature may have it.
        seed: what the shuffled orders are derived from; see `numpy_input_fn`.
        queue_capacity: has no meaning here; must be left out.
        num_threads: has no meaning here; must be left out.

    Returns:
        A function for `input_fn=`, whose result can also be iterated directly.

    Raises:
        ImportError: if pandas is not installed.
        TypeError: if `x` or `y` is not from pandas, a column holds no numbers or strings, or `target_column` is no
            string.
        ValueError: if `x` is empty, the index of `y` is not that of `x`, a name stands twice, or another argument is
            out of range.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("`pandas_input_fn` needs pandas: pip install torchestimator[pandas]") from error
    if not isinstance(x, pd.DataFrame):
        raise TypeError(
            f"`x` must be a pandas DataFrame. Received: {type(x).__name__}. "
            "For a Series use `x.to_frame()`, for arrays `numpy_input_fn`."
        )
    check_options(batch_size, num_epochs, shuffle, seed, queue_capacity=queue_capacity, num_threads=num_threads)
    if not isinstance(target_column, str):
        raise TypeError(f"`target_column` must be a string. Received: target_column={target_column!r}.")
    if x.empty:
        raise ValueError(f"`x` must have at least one row and one column. Received: shape {list(x.shape)}.")
    labels = _labels(pd, x, y, target_column)
    return array_input_fn(ArrayTable(dict_of_columns(x, "x"), labels), batch_size, num_epochs, bool(shuffle), seed)


def _labels(pd: Any, x: Any, y: Any, target_column: str) -> Any:
    """The labels as a Series, a dict of Series or None, checked against the features."""
    if y is None:
        return None
    if not isinstance(y, (pd.Series, pd.DataFrame)):
        raise TypeError(
            f"`y` must be a pandas Series or DataFrame. Received: {type(y).__name__}. "
            "For an array use `pandas.Series(y, index=x.index)`."
        )
    if not x.index.equals(y.index):
        raise ValueError(
            "`x` and `y` must have the same index, row by row. "
            f"Received: {_summary(x.index)} and {_summary(y.index)}. If the rows do belong together, use "
            "`y.set_axis(x.index)`; if only their order differs, `y.loc[x.index]`."
        )
    if isinstance(y, pd.DataFrame):
        return dict_of_columns(y, "y")
    if target_column in x.columns:
        raise ValueError(
            f"`target_column` must not be the name of a feature. Received: target_column={target_column!r}, with "
            f"columns {list(x.columns)}. If that column is the label, drop it: `x.drop(columns={target_column!r})`."
        )
    return y


def _summary(index: Any) -> str:
    shown = ", ".join(map(repr, index[:4].tolist()))
    return f"[{shown}{', ...' if len(index) > 4 else ''}] ({len(index)} rows)"
