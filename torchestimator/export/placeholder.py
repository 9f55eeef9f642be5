"""Placeholders: the tensors that clients will send, as a serving_input_receiver_fn declares them."""

import contextlib
import itertools
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchestimator.export.tensor_info import DATA_TYPES, STRING, DataType, TensorInfo
from torchestimator.inputs.column import numbers_of, to_tensor
from torchestimator.inputs.fingerprint import fingerprint64

BATCH = "batch"
"""Name of the dimension that counts the examples."""

_GENERATED_ROWS = 16
_LONGEST = 6
_STRINGS = ("a", "example", "Some words", "0", "", "snow \u2603")


@dataclass(frozen=True, eq=False)
class Placeholder:
    """A declared input: name, dtype, shape, and examples of its values."""

    name: str
    """As the receiver function calls it."""
    type: DataType
    """Its dtype."""
    shape: tuple[int, ...]
    """Sizes; -1 where any size is allowed."""
    dim_names: tuple[str | None, ...]
    """Of the dimensions of any size."""
    example: np.ndarray[Any, Any] | None = None
    """[rows, ...] values that the model can be tried with; None: they are made up."""
    parsed_from: str | None = None
    """The placeholder of serialised tf.Examples out of which the host decodes this one."""
    feature: Any = None
    """How it is decoded: a te.io.FixedLenFeature or VarLenFeature."""

    def rows(self, batch_size: int, free_sizes: Mapping[str, int]) -> np.ndarray[Any, Any]:
        """Values to try the model with.

        Args:
            batch_size: how many rows, where the batch may have any size.
            free_sizes: sizes of the other dimensions of any size, by name.

        Returns:
            [batch_size, ...] numbers, or objects where they are strings.
        """
        count = batch_size if self.shape[0] < 0 else self.shape[0]
        if self.example is not None:
            rows = self.example[np.arange(count) % len(self.example)]
            for axis, name in enumerate(self.dim_names):
                if axis and name:
                    rows = rows.take(np.arange(free_sizes[name]) % rows.shape[axis], axis)
            return rows
        others = zip(self.dim_names[1:], self.shape[1:], strict=True)
        sizes = [free_sizes[name] if name else size for name, size in others]
        return _made_up(self.type, (count, *sizes), self.name)

    @property
    def free_axes(self) -> dict[int, str]:
        """The names of the dimensions of any size, by axis."""
        return {axis: name for axis, name in enumerate(self.dim_names) if name is not None}

    def info(self, identifier: str) -> TensorInfo:
        """Its description in a signature."""
        return TensorInfo(identifier, self.type.name, self.shape, self.dim_names)


class _Run:
    """One call of a receiver function: what it declares, and the tensors that its placeholders are."""

    def __init__(self, values: Mapping[str, Tensor] | None) -> None:
        self.values = values
        self.sizes: dict[str, int] = {}
        self.declared: dict[str, Placeholder] = {}
        self.tensors: dict[str, Tensor] = {}


class _Runs(threading.local):
    def __init__(self) -> None:
        self.stack: list[_Run] = []


_RUNS = _Runs()


@contextlib.contextmanager
def receiver_run(values: Mapping[str, Tensor] | None = None) -> Iterator[_Run]:
    """The block in which a receiver function is called.

    Args:
        values: the tensors that its placeholders are, by name; None: examples.
    """
    run = _Run(values)
    _RUNS.stack.append(run)
    try:
        yield run
    finally:
        _RUNS.stack.pop()


def placeholder(
    dtype: Any, shape: Sequence[int | str | None], name: str | None = None, *, example: Any = None
) -> Tensor:
    """Declares a tensor that clients will send: for a serving_input_receiver_fn (tf.compat.v1.placeholder).

    What the function computes from it becomes part of the exported model:

        def serving_input_receiver_fn():
            pixels = te.export.placeholder(torch.uint8, [None, 8, 8], "pixels")
            return te.export.ServingInputReceiver({"image": pixels.float() / 255}, {"pixels": pixels})

    Args:
        dtype: a torch dtype, or `str` for strings. Inside the model a string is its int64 fingerprint, as in
            training; clients of the ONNX model send the strings.
        shape: sizes, the batch first. None: any size; a name such as "length" as well, and dimensions of the same
            name then always have the same size.
        name: of the input; None: "placeholder", "placeholder_1" and so on.
        example: [rows, ...] values with which the export is checked. None: random numbers, for integers
            zeros and ones.

    Returns:
        [batch, ...] examples of the values; while the model is exported, the tensor that stands for the input.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the shape has no batch, the example has another shape, or the name was used before.
    """
    return declare(_placeholder(dtype, shape, name, example))


def declare(made: Placeholder) -> Tensor:
    """Takes a placeholder into the current run and returns the tensor that it is."""
    run = _RUNS.stack[-1] if _RUNS.stack else _Run(None)
    if made.name in run.declared:
        raise ValueError(f"Each placeholder needs a `name` of its own. Received {made.name!r} twice.")
    run.declared[made.name] = made
    if run.values is not None:
        if made.name not in run.values:
            raise ValueError(
                "A receiver function must declare the same placeholders whenever it is called. "
                f"Received: {made.name!r} besides {sorted(run.values)}."
            )
        tensor = run.values[made.name]
    else:
        # A dimension keeps the size that it has in the first placeholder with it.
        run.sizes = {**free_sizes([made], len(run.sizes)), **run.sizes}
        tensor = to_tensors_of(made, made.rows(2, run.sizes))
    run.tensors[made.name] = tensor
    return tensor


def like_example(name: str, value: Any, batch_size: int | None) -> Placeholder:
    """A placeholder with the dtype and shape of an example.

    Args:
        name: of the input.
        value: [rows, ...] a tensor or an array; strings as well.
        batch_size: the only size of the batch that is allowed; None: any.

    Raises:
        TypeError: these are no numbers or strings.
        ValueError: it has no dimensions or no rows.
    """
    numbers = numbers_of(value, f"features[{name!r}]")
    example = np.asarray(value, dtype=object) if numbers is None else to_tensor(numbers).detach().cpu()
    shape = tuple(example.shape)
    if not shape or not shape[0]:
        raise ValueError(
            f"The example of {name!r} must have the batch as its first dimension, and at least one row. "
            f"Received: shape {list(shape)}."
        )
    dtype = str if numbers is None else example.dtype
    return _placeholder(dtype, [batch_size, *shape[1:]], name, example)


def with_feature(name: str, feature: Any, parsed_from: str, batch_size: int | None) -> Placeholder:
    """The placeholder of a feature that is decoded from serialised tf.Examples.

    Args:
        name: of the feature.
        feature: a te.io.FixedLenFeature or VarLenFeature.
        parsed_from: the placeholder of the serialised examples.
        batch_size: as for `like_example`.
    """
    sizes = getattr(feature, "shape", None)
    shape = [batch_size, *((None,) if sizes is None else sizes)]
    return replace(_placeholder(feature.dtype, shape, name, None), parsed_from=parsed_from, feature=feature)


def to_tensors_of(declared: Placeholder, rows: np.ndarray[Any, Any]) -> Tensor:
    """Values of a placeholder as the model gets them: strings as their fingerprints."""
    if declared.type.name == STRING:
        return torch.from_numpy(fingerprint64(rows, name=declared.name))
    return torch.from_numpy(np.array(rows))


def free_sizes(declared: Sequence[Placeholder], round_number: int) -> dict[str, int]:
    """Sizes for the dimensions of any size other than the batch, different in each round, and near those of examples.

    None is above the longest example where that has some length: a model may allow no more.
    """
    longest: dict[str, int] = {}
    for each in declared:
        for axis, name in enumerate(each.dim_names):
            if axis and name:
                given = 0 if each.example is None else each.example.shape[axis]
                longest[name] = max(longest.get(name, _LONGEST), given)
    return {name: longest[name] - (round_number + index) % 4 for index, name in enumerate(sorted(longest))}


def _placeholder(dtype: Any, shape: Any, name: str | None, example: Any) -> Placeholder:
    if name is None:
        taken = _RUNS.stack[-1].declared if _RUNS.stack else {}
        numbered = (f"placeholder_{number}" for number in itertools.count(1))
        name = next(each for each in itertools.chain(["placeholder"], numbered) if each not in taken)
    if not isinstance(name, str) or not name:
        raise TypeError(f"`name` of a placeholder must be a string. Received: {name!r}.")
    sizes, dim_names = _shape(shape, name)
    kind = _type(dtype, name)
    values = None if example is None else _example(example, kind, sizes, name)
    return Placeholder(name, kind, sizes, dim_names, values)


def _shape(shape: Any, name: str) -> tuple[tuple[int, ...], tuple[str | None, ...]]:
    advice = "Write the batch as None: te.export.placeholder(torch.float32, [None, 20])"
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TypeError(f"`shape` of the placeholder {name!r} must be a list of sizes. Received: {shape!r}. {advice}")
    if not len(shape):
        raise ValueError(f"`shape` of the placeholder {name!r} has no batch dimension. Received: []. {advice}")
    sizes: list[int] = []
    names: list[str | None] = []
    for axis, size in enumerate(shape):
        is_size = isinstance(size, int) and not isinstance(size, bool)
        if size is None or size == -1:
            sizes.append(-1)
            names.append(BATCH if axis == 0 else f"{_identifier(name)}_{axis}")
        elif isinstance(size, str) and size.isidentifier() and (size == BATCH) == (axis == 0):
            sizes.append(-1)
            names.append(size)
        elif is_size and size > 0:
            sizes.append(size)
            names.append(None)
        else:
            raise ValueError(
                f"`shape` of the placeholder {name!r} may hold sizes above 0, None for any size, and names of "
                f"dimensions (the first one is always {BATCH!r}). Received: {list(shape)}. {advice}"
            )
    return tuple(sizes), tuple(names)


def _type(dtype: Any, name: str) -> DataType:
    if dtype is str or dtype is bytes or dtype == "string":
        return DATA_TYPES[STRING]
    # None is float64 to NumPy.
    for each in DATA_TYPES.values() if dtype is not None else ():
        if each.name != STRING and dtype in (each.torch, str(each.torch).removeprefix("torch."), each.numpy, each.name):
            return each
    raise TypeError(
        f"`dtype` of the placeholder {name!r} must be a torch dtype such as torch.float32, or str. Received: {dtype!r}."
    )


def _example(example: Any, kind: DataType, sizes: tuple[int, ...], name: str) -> np.ndarray[Any, Any]:
    values = example.detach().cpu().numpy() if isinstance(example, Tensor) else np.asarray(example)
    if kind.name == STRING:
        values = values.astype(object)
        decoded = [each.decode() if isinstance(each, bytes) else each for each in values.ravel()]
        values = np.array(decoded, dtype=object).reshape(values.shape)
    elif values.dtype.kind not in "biuf":
        raise TypeError(f"`example` of the placeholder {name!r} must be numbers. Received: {example!r}.")
    elif values.dtype != kind.numpy:
        values = values.astype(kind.numpy)
    fits = values.ndim == len(sizes) and all(
        size in (-1, given) for size, given in zip(sizes[1:], values.shape[1:], strict=True)
    )
    if not fits or not values.size:
        raise ValueError(
            f"`example` of the placeholder {name!r} must have at least one row and the shape {list(sizes)}. "
            f"Received: shape {list(values.shape)}."
        )
    return values


def _made_up(kind: DataType, shape: tuple[int, ...], name: str) -> np.ndarray[Any, Any]:
    # Always the same values for the same name, and the same rows in batches of every size.
    row_shape = shape[1:]
    random = np.random.default_rng(list(name.encode()))
    rows = max(_GENERATED_ROWS, shape[0])
    if kind.name == STRING:
        words = np.array(
            [_STRINGS[index] for index in random.integers(0, len(_STRINGS), (rows, *row_shape)).ravel()], object
        )
        return words.reshape(rows, *row_shape)[: shape[0]]
    if kind.is_floating_point:
        return random.standard_normal((rows, *row_shape))[: shape[0]].astype(kind.numpy)
    return random.integers(0, 2, (rows, *row_shape))[: shape[0]].astype(kind.numpy)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)
