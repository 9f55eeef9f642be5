"""A batch as the user's input gives it, turned into tensors and checked."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchestimator.inputs.column import is_data, is_pandas, numbers_of, to_tensor
from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.inputs.hashed_strings import HashedStrings
from torchestimator.inputs.ragged import RaggedFeature

Path = tuple[Any, ...]
"""Where a tensor stands in a structure: the dict keys and list positions that lead to it, () for a bare tensor."""

Strings = dict[Path, NDArray[Any]]
"""The original strings of a batch by the place of the tensor that replaced them."""

_SHOW_BATCHING = "An input gives whole batches: `DataLoader(dataset, batch_size=32)` makes them from single examples."


def to_tensors(structure: Any, keep_strings: bool = False, name: str = "features") -> tuple[Any, Strings]:
    """Turns a batch, or a part of one, into tensors.

    Dicts (any mapping), lists, tuples and NamedTuples keep their nesting; a pandas DataFrame becomes a dict of its
    columns; lists of numbers or strings are arrays. Tensors stay the same objects. float64 arrays become
    `torch.get_default_dtype()`, other number types are kept. Strings become their int64 `fingerprint64`.

    Args:
        structure: features or labels, nested as wanted. Labels that are absent are not for this function.
        keep_strings: whether the original strings are returned too, so that predictions can show them.
        name: what error messages call the structure.

    Returns:
        The structure of tensors, new dicts throughout, and the original strings by path (empty if not kept).

    Raises:
        TypeError: if a leaf is no number or string (dates, `None`, rows of different lengths); it is called by its
            path, as in `features["user"]["name"]`.
    """
    kind = type(structure)
    if kind is torch.Tensor:
        return structure, {}
    if kind is dict:
        for value in structure.values():
            if type(value) is not torch.Tensor:
                break
        else:
            return structure.copy(), {}  # the model_fn may pop features; the input may yield the same dict again
    strings: Strings = {}
    return _convert(structure, (), name, strings if keep_strings else None), strings


def check_batch(features: Any, labels: Any) -> None:
    """Checks that all tensors of a batch have the batch as their first dimension.

    Meant for the first batch of a run: what goes wrong here goes wrong in every batch.

    Args:
        features: structure of tensors, each [batch, ...].
        labels: likewise, or None.

    Raises:
        ValueError: if there is no feature, a tensor has no dimensions, or their batch sizes differ.
    """
    tensors = [*leaves_of(features, "features"), *([] if labels is None else leaves_of(labels, "labels"))]
    if not any(name.startswith("features") for name, _ in tensors):
        raise ValueError(
            f"`features` holds no tensor. Received: {features!r}. The input must give at least one feature."
        )
    bare = [name for name, leaf in tensors if not isinstance(leaf, RaggedFeature) and leaf.dim() == 0]
    if bare:
        raise ValueError(
            "Each feature and label needs the batch as its first dimension; "
            f"these have no dimension: {', '.join(bare)}. Received: {_shapes(tensors)}. {_SHOW_BATCHING}"
        )
    if len({_rows(leaf) for _, leaf in tensors}) > 1:
        raise ValueError(
            "Features and labels disagree on the size of the batch, their first dimension. "
            f"Received: {_shapes(tensors)}. {_SHOW_BATCHING}"
        )


def batch_size_of(features: Any) -> int:
    """Returns the number of examples in a batch: the first dimension of its first tensor, or the rows of a ragged one.

    Raises:
        ValueError: if `features` holds no tensor.
    """
    first = features
    while isinstance(first, (dict, list, tuple)) and first and not isinstance(first, RaggedFeature):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    if not isinstance(first, (torch.Tensor, RaggedFeature)):
        raise ValueError(f"`features` holds no tensor whose batch size could be told. Received: {features!r}.")
    return _rows(first)


def leaves_of(structure: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yields each leaf of a nested structure with its written path, such as `features["user"]["age"]`."""
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from leaves_of(value, place(name, (key,)))
    elif isinstance(structure, (list, tuple)) and not isinstance(structure, RaggedFeature):
        for index, value in enumerate(structure):
            yield from leaves_of(value, place(name, (index,)))
    else:
        yield name, structure


def place(name: str, path: Path) -> str:
    """Returns how a leaf is written in Python: `features["user"][0]`."""
    return name + "".join(f'["{key}"]' if isinstance(key, str) else f"[{key!r}]" for key in path)


def dict_of_columns(frame: Any, name: str) -> dict[Any, Any]:
    """Returns the columns of a pandas DataFrame by their labels.

    Raises:
        ValueError: if two columns have the same label.
    """
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].unique().tolist()
        raise ValueError(f"The columns of `{name}` must have different names. Received more than once: {twice}.")
    return dict(frame.items())


def _convert(value: Any, path: Path, name: str, strings: Strings | None) -> Any:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        return _convert_leaf(value, path, name, strings)
    if isinstance(value, Mapping):
        return {key: _convert(item, (*path, key), name, strings) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and (hasattr(value, "_fields") or not is_data(value)):
        items = [_convert(item, (*path, index), name, strings) for index, item in enumerate(value)]
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return items if isinstance(value, list) else tuple(items)
    if is_pandas(value, "DataFrame"):
        return _convert(dict_of_columns(value, place(name, path)), path, name, strings)
    return _convert_leaf(value, path, name, strings)


def _convert_leaf(value: Any, path: Path, name: str, strings: Strings | None) -> torch.Tensor:
    if isinstance(value, HashedStrings) and value.fingerprints is not None:
        if strings is not None:
            strings[path] = value.view(np.ndarray)
        return value.fingerprints
    written = place(name, path)
    numbers = numbers_of(value, written)
    if numbers is not None:
        return to_tensor(numbers)
    if strings is not None:
        strings[path] = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    return torch.from_numpy(fingerprint64(value, name=written))


def _rows(leaf: torch.Tensor | RaggedFeature) -> int:
    return leaf.num_rows if isinstance(leaf, RaggedFeature) else leaf.size(0)


def _shapes(tensors: list[tuple[str, Any]]) -> str:
    return ", ".join(
        f"{name} [{leaf.num_rows} rows]" if isinstance(leaf, RaggedFeature) else f"{name} {list(leaf.shape)}"
        for name, leaf in tensors
    )
