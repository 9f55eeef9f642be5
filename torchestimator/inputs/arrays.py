"""Batches cut out of arrays in memory: the engine of `numpy_input_fn` and `pandas_input_fn`.

Rows are gathered for many batches at once (`numpy.take` on whole blocks) and handed out as slices of the block, so that
a batch costs a few microseconds. Of several processes, each gathers its own rows alone. The arrays themselves are never
handed out: what a model does to its batch in place does not reach the user's data, nor any other batch.
"""

import dataclasses
import hashlib
import math
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from torchestimator.inputs.batch import Path, place
from torchestimator.inputs.column import default_float, native, numbers_of
from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.inputs.hashed_strings import with_fingerprints
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.iterator import InputIterator, InputMismatchError, is_exhausted
from torchestimator.model.seeds import derive_seed

_BLOCK_BYTES = 2 << 20
_BLOCK_BATCHES = 64
"""How much is gathered at once: enough to spread the cost of a call, little enough for the cache."""

_SAMPLED_ROWS = 64
"""Rows that go into the hash by which data is recognised."""


@dataclasses.dataclass(frozen=True)
class _Column:
    """One array, ready to be sliced."""

    name: str
    """How the user wrote it: `x["age"]`."""
    rows: NDArray[Any]
    """[rows, ...] C-contiguous, native numbers; strings as their fingerprints."""
    strings: NDArray[Any] | None
    """[rows, ...] the original strings, None for numbers."""
    tensor_dtype: torch.dtype | None
    """The dtype of the batches where numpy has no name for it (bfloat16); `rows` then holds its bits."""
    is_float64: bool
    """Whether this was a float64 numpy array, whose batches become `torch.get_default_dtype()`."""


class ArrayTable:
    """Equally long arrays in the nesting of the features and labels that they make.

    Args:
        features: an array, or a (nested) dict of arrays, each [rows, ...].
        labels: likewise, or None.

    Raises:
        TypeError: if a leaf is no array of numbers or strings.
        ValueError: if there are no rows, an array has no dimension, or the lengths differ.
    """

    def __init__(self, features: Any, labels: Any) -> None:
        self._columns: list[_Column] = []
        self._on_disk = False
        self._features = self._add(features, "x", ())
        self._labels = None if labels is None else self._add(labels, "y", ())
        lengths = {column.rows.shape[0] for column in self._columns}
        if len(lengths) > 1:
            shapes = ", ".join(f"{column.name} {list(column.rows.shape)}" for column in self._columns)
            raise ValueError(f"All arrays in `x` and `y` must have the same number of rows. Received: {shapes}.")
        self.num_rows: int = lengths.pop()
        if self.num_rows == 0:
            raise ValueError("`x` is empty: its arrays must have at least one row. Received: 0 rows.")

    @property
    def in_memory(self) -> bool:
        """Whether reading rows is a matter of memory bandwidth (no `numpy.memmap` among the arrays)."""
        return not self._on_disk

    def bytes_per_row(self) -> int:
        """Bytes that one row of all arrays takes."""
        size: int = sum(column.rows.nbytes for column in self._columns)
        return max(1, size // self.num_rows)

    def batches(self, rows: NDArray[np.int64], batch_size: int, keep_strings: bool) -> Iterator[tuple[Any, Any]]:
        """Returns the given rows as `(features, labels)` batches in memory of their own.

        Args:
            rows: [n] the rows to take, in order.
            batch_size: rows of each batch; the last one may be shorter.
            keep_strings: whether string columns are given as their strings (numpy arrays), not their fingerprints.
        """
        slices = [_slices(column, rows, batch_size, keep_strings) for column in self._columns]
        features = _assemble(self._features, slices)
        labels = [None] * len(features) if self._labels is None else _assemble(self._labels, slices)
        return zip(features, labels, strict=True)

    def identity(self) -> dict[str, Any]:
        """Returns by what the same data is recognised later: names, dtypes, shapes, and a hash of some rows."""
        digest = hashlib.blake2b(digest_size=16)
        sample = np.linspace(0, self.num_rows - 1, min(self.num_rows, _SAMPLED_ROWS)).astype(np.int64)
        for column in self._columns:
            digest.update(column.name.encode())
            digest.update(np.take(column.rows, sample, axis=0).tobytes())
        return {
            "rows": self.num_rows,
            "columns": {column.name: [_dtype_name(column), *column.rows.shape[1:]] for column in self._columns},
            "sample": digest.hexdigest(),
        }

    def _add(self, value: Any, argument: str, path: Path) -> Any:
        """Stores the arrays of a structure; returns the structure with each array replaced by its index."""
        if isinstance(value, Mapping):
            return {key: self._add(value[key], argument, (*path, key)) for key in sorted(value, key=str)}
        self._on_disk = self._on_disk or isinstance(value, np.memmap)
        self._columns.append(_column(value, place(argument, path)))
        return len(self._columns) - 1


class ArrayBatches(InputIterator):
    """Batches of an `ArrayTable`, in order or shuffled anew in each epoch.

    Batches run across the ends of epochs; only the very last one may be short (as in
    tf.compat.v1.estimator.inputs.numpy_input_fn). The order of an epoch is a pure function of (`seed`, epoch), so that
    a saved position is found again at once, whatever the batch size then is.

    N processes walk through one order together: a step takes the next N * `batch_size` rows of it, cut into N slices,
    one for each process in the order of their ranks. Rows that are left over at the very end are shared out as evenly
    as possible (`numpy.array_split`), so that some processes may have one batch less. The position counts the rows of
    all processes: it is the same in each of them, and M processes go on where N stopped.

    Args:
        table: the arrays.
        batch_size: rows of a batch, which feeds one process.
        num_epochs: passes over the rows; None: without end.
        shuffle: whether each epoch visits the rows in an order of its own.
        seed: what the orders are derived from.
        fixed_seed: whether the user chose `seed`. If not, a loaded state brings its own and the order goes on.
        keep_strings: whether string columns are given as strings, not as fingerprints.
        input_context: whose share of the rows this is.
    """

    def __init__(
        self,
        table: ArrayTable,
        *,
        batch_size: int,
        num_epochs: int | None,
        shuffle: bool,
        seed: int,
        fixed_seed: bool,
        keep_strings: bool = False,
        input_context: InputContext | None = None,
    ) -> None:
        self.in_memory = table.in_memory
        self._table = table
        self._batch_size = batch_size
        self._num_epochs = num_epochs
        self._shuffle = shuffle
        self._seed = seed
        self._fixed_seed = fixed_seed
        self._keep_strings = keep_strings
        self._identity: dict[str, Any] | None = None
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self._context = input_context or InputContext()
        self._step_rows = batch_size * self._context.num_input_pipelines
        self._row = 0  # rows given to the consumers of all processes, counted over all epochs
        self._gathered = 0  # rows gathered into blocks
        self._first_epoch = 0
        self._end = self._end_after(0)
        self._block: Iterator[tuple[Any, Any]] = iter(())

    def __next__(self) -> tuple[Any, Any]:
        batch = next(self._block, None)
        if batch is None:
            self._block = self._next_block()
            batch = next(self._block, None)
            if batch is None:
                self._row = self._gathered  # what was left over for others is behind this process too
                raise StopIteration
        self._row += self._step_rows
        if self._end is not None and self._row > self._end:
            self._row = self._end
        return batch

    def share(self, input_context: InputContext, random_seed: int | None) -> Self:
        """Becomes the share of one of several processes, unless it is one already.

        Args:
            input_context: which process.
            random_seed: that of the run's configuration; orders that nobody chose a seed for are derived from it.

        Raises:
            ValueError: if the processes have no seed in common.
        """
        if self._context.num_input_pipelines > 1:
            return self
        self._context = input_context
        self._step_rows = self._batch_size * input_context.num_input_pipelines
        if self._shuffle and not self._fixed_seed:
            self._seed = input_seed(None, random_seed, input_context)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Returns the number of rows given so far, over all epochs, and by what the data and order are recognised."""
        if self._identity is None:
            self._identity = self._table.identity()
        state = {
            "row": self._row,
            "first_epoch": self._first_epoch,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "data": self._identity,
        }
        if self._row == self._end:
            state["exhausted"] = True
        return state

    def load_state_dict(self, state: dict[str, Any] | None) -> bool:
        """Goes on after the rows that the state counts, in the same order.

        After the end, a new pass begins in the epochs that follow, so that it is not shuffled like the one before.
        `batch_size`, `num_epochs` and the number of processes may have changed: the rows to come are the same.

        Returns:
            True, except for a state without a position (None), which leaves the input at its beginning.

        Raises:
            InputMismatchError: if data, shuffling or seed are not those of the state.
        """
        if state is None:
            return False
        difference = self._difference(state)
        if is_exhausted(state):
            if not difference:
                self._seek(state["row"], state["row"] // self._table.num_rows, state["seed"])
            return True
        if difference:
            raise InputMismatchError(
                f"The checkpoint's input position belongs to another input: {difference}. To go on where the input "
                "stopped, give it the same data."
            )
        self._seek(state["row"], state["first_epoch"], state["seed"])
        return True

    def _end_after(self, first_epoch: int) -> int | None:
        return None if self._num_epochs is None else (first_epoch + self._num_epochs) * self._table.num_rows

    def _seek(self, row: int, first_epoch: int, seed: int) -> None:
        self._row = self._gathered = row
        self._first_epoch = first_epoch
        self._end = self._end_after(first_epoch)
        self._seed = seed
        self._order = None
        self._block = iter(())

    def _next_block(self) -> Iterator[tuple[Any, Any]]:
        """Gathers the next few batches of this process; at the end an empty iterator."""
        if self._gathered == self._end:
            return iter(())
        batch_bytes = self._batch_size * self._table.bytes_per_row()
        count = self._step_rows * max(1, min(_BLOCK_BATCHES, _BLOCK_BYTES // batch_bytes))
        end = self._gathered + count if self._end is None else min(self._gathered + count, self._end)
        rows = [self._rows_of_epoch(self._gathered, end)]
        while (reached := self._gathered + sum(map(len, rows))) < end:
            rows.append(self._rows_of_epoch(reached, end))
        self._gathered = end
        own = self._own(np.concatenate(rows))
        return self._table.batches(own, self._batch_size, self._keep_strings) if len(own) else iter(())

    def _own(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows of some steps of all processes that this process gets."""
        num, index = self._context.num_input_pipelines, self._context.input_pipeline_id
        if num == 1:
            return rows
        whole = len(rows) // self._step_rows * self._step_rows
        own = rows[:whole].reshape(-1, num, self._batch_size)[:, index].reshape(-1)
        return np.concatenate([own, np.array_split(rows[whole:], num)[index]])

    def _rows_of_epoch(self, begin: int, end: int) -> NDArray[np.int64]:
        """The rows at the positions from `begin` to `end`, or to the end of the epoch if that comes first."""
        epoch, first = divmod(begin, self._table.num_rows)
        last = min(self._table.num_rows, first + end - begin)
        if not self._shuffle:
            return np.arange(first, last, dtype=np.int64)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._table.num_rows, self._seed, epoch))
        return self._order[1][first:last]

    def _difference(self, state: dict[str, Any]) -> str:
        """What tells a state's input from this one, in words; "" if nothing does."""
        mine = self.state_dict()
        if not isinstance(state.get("data"), dict):
            return "it was not saved by an input over arrays"
        for key, was in state["data"].items():
            now = mine["data"].get(key)
            if was != now and key != "sample":
                return f"its {key} were {was}, now they are {now}"
        if state["data"] != mine["data"]:
            return "its values differ, although names and shapes are the same"
        if state["shuffle"] != self._shuffle:
            return f"it had `shuffle={state['shuffle']}`, now `shuffle={self._shuffle}`"
        if self._shuffle and self._fixed_seed and state["seed"] != self._seed:
            return "it was shuffled by another `seed`"
        return ""


def epoch_order(num_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Returns the permutation of [0, num_rows) in which an epoch visits the rows.

    The same for the same arguments on every machine and release: `RandomState` is numpy's frozen generator of
    permutations (NEP 19).
    """
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    return np.random.RandomState(bits).permutation(num_rows).astype(np.int64, copy=False)


def input_seed(seed: int | None, random_seed: int | None, input_context: InputContext | None = None) -> int:
    """Returns the seed of an input's order, the same in all processes that share the input.

    Args:
        seed: what the user gave to the input, or None.
        random_seed: that of the run's configuration, or None.
        input_context: how many processes share the input; None: it has one to itself.

    Returns:
        An integer in [0, 2**63): a fixed function of the seeds, or drawn fresh if both are None.

    Raises:
        ValueError: if both seeds are None and there are several processes, which would shuffle differently.
    """
    chosen = random_seed if seed is None else seed
    if chosen is not None:
        return derive_seed(chosen, "input/0")
    if input_context is not None and input_context.num_input_pipelines > 1:
        raise no_common_seed(input_context)
    return secrets.randbits(63)  # not from a global generator: the model's random numbers must not depend on its inputs


def no_common_seed(input_context: InputContext) -> ValueError:
    """The error for an order that several processes have to agree on, and no seed to derive it from."""
    return ValueError(
        f"An input that {input_context.num_input_pipelines} processes share needs a seed, from which all derive the "
        "same order. Received: neither a `seed` nor a configuration with a `random_seed`. Inside an input_fn pass the "
        "configuration on: `numpy_input_fn(...)(mode, config, input_context)`."
    )


def _column(value: Any, name: str) -> _Column:
    numbers = numbers_of(value, name)
    if numbers is None:
        strings = np.ascontiguousarray(value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object))
        column = _Column(name, fingerprint64(value, name=name), strings, None, False)
    elif isinstance(numbers, torch.Tensor):
        column = _from_tensor(numbers, name)
    else:
        is_float64 = numbers.dtype.kind == "f" and numbers.dtype.itemsize >= 8
        column = _Column(name, np.asarray(native(numbers)), None, None, is_float64)
    if column.rows.ndim == 0:
        raise ValueError(f"`{name}` must have its rows as the first dimension. Received: a single value, {value!r}.")
    return dataclasses.replace(column, rows=np.ascontiguousarray(column.rows))


def _from_tensor(tensor: torch.Tensor, name: str) -> _Column:
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
        raise ValueError(
            f"`{name}` must be a dense tensor in host memory; batches are moved to the device as they are needed. "
            f"Received: device {tensor.device}, layout {tensor.layout}. Pass `tensor.cpu()`."
        )
    tensor = tensor.detach()
    try:
        return _Column(name, tensor.numpy(), None, None, False)
    except TypeError:  # numpy has no such dtype
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()]
        return _Column(name, tensor.contiguous().view(bits).numpy(), None, tensor.dtype, False)


def _slices(column: _Column, rows: NDArray[np.int64], batch_size: int, keep_strings: bool) -> list[Any]:
    """Takes the rows of a column and cuts them into batches."""
    if keep_strings and column.strings is not None:
        hashed = _empty((len(rows), *column.rows.shape[1:]), column.rows.dtype)
        np.take(column.rows, rows, axis=0, out=hashed, mode="clip")
        pairs = zip(_cut(np.take(column.strings, rows, axis=0), batch_size), _cut(hashed, batch_size), strict=True)
        return [with_fingerprints(strings, fingerprints) for strings, fingerprints in pairs]
    block = _empty((len(rows), *column.rows.shape[1:]), column.rows.dtype)
    np.take(column.rows, rows, axis=0, out=block, mode="clip")  # any other mode would go through a buffer
    dtype = column.tensor_dtype
    if column.is_float64:
        if (narrow := default_float()) is None:
            dtype = torch.get_default_dtype()
        elif narrow != block.dtype:
            wide, block = block, _empty(block.shape, narrow)
            with np.errstate(over="ignore"):  # too large for float32 becomes inf, as in every other conversion
                block[...] = wide
    # one tensor per slice, not views of one tensor: autograd counts in-place changes per tensor with its views
    tensors = list(map(torch.from_numpy, _cut(block, batch_size)))
    if dtype is None:
        return tensors
    return [tensor.to(dtype) if column.is_float64 else tensor.view(dtype) for tensor in tensors]


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that torch has allocated, at a multiple of 64 bytes: batches that begin at one need no copy later."""
    memory = torch.empty(math.prod(shape) * dtype.itemsize, dtype=torch.uint8)
    array: NDArray[Any] = memory.numpy().view(dtype).reshape(shape)
    return array


def _cut(block: NDArray[Any], batch_size: int) -> list[NDArray[Any]]:
    whole = len(block) // batch_size * batch_size
    batches = list(block[:whole].reshape(-1, batch_size, *block.shape[1:]))
    return batches if whole == len(block) else [*batches, block[whole:]]


def _assemble(structure: Any, slices: list[list[Any]]) -> list[Any]:
    """The batches of a structure of columns."""
    if isinstance(structure, int):
        return slices[structure]
    keys = tuple(structure)
    leaves = [_assemble(value, slices) for value in structure.values()]
    return [dict(zip(keys, batch, strict=True)) for batch in zip(*leaves, strict=True)]


def _dtype_name(column: _Column) -> str:
    if column.strings is not None:
        return "string"
    return str(column.tensor_dtype or column.rows.dtype).removeprefix("torch.")
