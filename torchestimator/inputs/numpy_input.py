"""numpy_input_fn: an input_fn over arrays in memory."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from torchestimator.inputs.arrays import ArrayBatches, ArrayTable, input_seed
from torchestimator.inputs.column import is_pandas
from torchestimator.inputs.input_context import InputContext
from torchestimator.mode_keys import ModeKeys


def numpy_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    *,
    seed: int | None = None,
    queue_capacity: None = None,
    num_threads: None = None,
) -> Callable[..., ArrayBatches]:
    """Returns an input_fn that feeds arrays in batches (tf.compat.v1.estimator.inputs.numpy_input_fn).

    Batches run across the ends of epochs, so that only the very last one may be short: 5 rows in batches of 3 for 2
    epochs are 0 1 2, 3 4 0, 1 2 3, 4. With `shuffle` each epoch visits every row once, in an order of its own. A
    resumed training run goes on in the middle of the epoch where it stopped, in the same order.

    With N processes `batch_size` is that of each: a step takes the next N * `batch_size` rows, of which every process
    gets a slice (see `InputContext`). The steps see what one process with that larger batch would see, each row is
    used once, and a run may be resumed with another number of processes. Every process needs all of the arrays.

    String columns become int64 fingerprints here, once. The arrays are not copied, and are not changed by the model.

        train_input_fn = te.inputs.numpy_input_fn({"age": age}, y=income, num_epochs=None, shuffle=True)

    Args:
        x: the features: an array [rows, ...], or a (nested) dict of arrays, numpy or torch. With a dict the model_fn
            gets a dict in the order of its sorted keys, with an array a bare tensor.
        y: the labels, likewise; None for prediction.
        batch_size: rows of a batch, for each process.
        num_epochs: passes over the data; None: without end.
        shuffle: must be given: True for training, False for evaluation and prediction.
        seed: what the shuffled orders are derived from. None: from the run's `random_seed`, and if that is None too,
            drawn anew by each run and stored in its checkpoints.
        queue_capacity: has no meaning here; must be left out.
        num_threads: has no meaning here; must be left out.

    Returns:
        A function for `input_fn=`, whose result can also be iterated directly.

    Raises:
        TypeError: if `x` or `y` is no array or dict of arrays of numbers or strings.
        ValueError: if `x` or `y` is empty, their lengths differ, they share a key, or another argument is out of range.
    """
    check_options(batch_size, num_epochs, shuffle, seed, queue_capacity=queue_capacity, num_threads=num_threads)
    _check_arrays(x, "x")
    if y is not None:
        _check_arrays(y, "y")
    if isinstance(x, Mapping) and isinstance(y, Mapping) and (shared := set(x) & set(y)):
        raise ValueError(
            "`x` and `y` must have different keys, so that features and labels cannot be confused. "
            f"Received in both: {sorted(shared, key=str)}."
        )
    return array_input_fn(ArrayTable(x, y), batch_size, num_epochs, bool(shuffle), seed)


def array_input_fn(
    table: ArrayTable, batch_size: int, num_epochs: int | None, shuffle: bool, seed: int | None
) -> Callable[..., ArrayBatches]:
    """Returns the input_fn over a table; see `numpy_input_fn` for the arguments."""
    return functools.partial(
        _batches, table=table, batch_size=batch_size, num_epochs=num_epochs, shuffle=shuffle, seed=seed
    )


def _batches(
    mode: str = ModeKeys.TRAIN,
    config: Any = None,
    input_context: InputContext | None = None,
    *,
    table: ArrayTable,
    batch_size: int,
    num_epochs: int | None,
    shuffle: bool,
    seed: int | None,
) -> ArrayBatches:
    order_seed = input_seed(seed, getattr(config, "random_seed", None), input_context) if shuffle else 0
    return ArrayBatches(
        table,
        batch_size=batch_size,
        num_epochs=num_epochs,
        shuffle=shuffle,
        seed=order_seed,
        fixed_seed=seed is not None,
        keep_strings=mode == ModeKeys.PREDICT,
        input_context=input_context,
    )


def check_options(
    batch_size: object, num_epochs: object, shuffle: object, seed: object, **without_meaning: object
) -> None:
    """Checks the arguments that `numpy_input_fn` and `pandas_input_fn` share.

    Raises:
        ValueError: if `shuffle` is no bool, a number is out of range, or an argument without meaning is given.
        TypeError: if a number is no integer.
    """
    for name, value in without_meaning.items():
        if value is not None:
            raise ValueError(
                f"`{name}` has no meaning here: batches are cut out of the arrays directly, without a queue or reader "
                f"threads. Received: {name}={value!r}. Remove the argument."
            )
    if not isinstance(shuffle, bool):
        raise ValueError(
            "`shuffle` must be given, as True (for training) or False (for evaluation and prediction). "
            f"Received: shuffle={shuffle!r}."
        )
    _check_count("batch_size", batch_size, 1)
    if num_epochs is not None:
        _check_count("num_epochs", num_epochs, 1)
    if seed is not None:
        _check_count("seed", seed, 0)


def _check_count(name: str, value: object, lowest: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}.")
    if value < lowest:
        raise ValueError(f"`{name}` must be at least {lowest}. Received: {name}={value}.")


def _check_arrays(value: Any, argument: str) -> None:
    """Raises if `x` or `y` is none of the types that can be sliced, or empty."""
    if is_pandas(value, "DataFrame"):
        raise TypeError(
            f"`{argument}` is a pandas DataFrame. Received: columns {list(value.columns)}. "
            "Use `pandas_input_fn`, or pass a dict of arrays: `dict(frame)`."
        )
    if isinstance(value, Mapping):
        if not value:
            hint = ' Pass at least one array, as in {"age": ages}.' if argument == "x" else " For no labels pass None."
            raise ValueError(f"`{argument}` must not be an empty dict. Received: {argument}={{}}.{hint}")
    elif not isinstance(value, (np.ndarray, torch.Tensor)) and not is_pandas(value, "Series"):
        raise TypeError(
            f"`{argument}` must be an array or a dict of arrays. Received: {type(value).__name__}. "
            f"Convert it, for example `numpy.asarray({argument})`."
        )
    elif value.shape and value.shape[0] == 0:
        raise ValueError(f"`{argument}` must not be empty. Received: shape {list(value.shape)}.")
