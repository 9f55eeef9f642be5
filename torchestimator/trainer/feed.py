"""Values that hooks put in place of parts of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchestimator.hooks.hook import SessionRunArgs
from torchestimator.inputs.batch import to_tensors
from torchestimator.strategy.strategy import Batch
from torchestimator.trainer.fetch import find_path, like, written_places
from torchestimator.tree import map_tensors


def feed(batch: Batch, requests: Sequence[SessionRunArgs | None], device: torch.device) -> Batch:
    """The batch with every request's `feed_dict` put in.

    Keys are "features", "features/<name>" (nested: "features/<name>/<name>"), "labels" or
    "labels/<name>". Numbers take on the dtype of the tensor they replace.

    Raises:
        TypeError: a `feed_dict` is not a dict of names.
        ValueError: a key is not in the batch, or two keys name the same place.
    """
    parts = {"features": batch.features, "labels": batch.labels}
    fed: list[str] = []
    for request in requests:
        if request is None or not request.feed_dict:
            continue
        if not isinstance(request.feed_dict, Mapping):
            raise TypeError(
                "`feed_dict` must be a dict from places in the batch to values. "
                f'Received: {request.feed_dict!r}. Write: {{"features/x": array}}'
            )
        for name, value in request.feed_dict.items():
            _check_name(name, parts, fed)
            fed.append(name)
            root, _, rest = name.partition("/")
            path = find_path(parts[root], rest)
            if path is None:
                raise ValueError(
                    f"`feed_dict` has the key {name!r}, which the batch does not have. There are: "
                    f"{[place for part in parts for place in written_places(parts[part], part)]}."
                )
            tensors = map_tensors(lambda tensor: tensor.to(device), to_tensors(value, name=name)[0])
            parts[root] = _replaced(parts[root], path, tensors)
    return batch._replace(features=parts["features"], labels=parts["labels"])


def _check_name(name: Any, parts: Mapping[str, Any], fed: Sequence[str]) -> None:
    if not isinstance(name, str):
        raise TypeError(
            f"`feed_dict` must have places in the batch as its keys. Received: {name!r}. "
            'Write: {"features/x": array} or {"labels": array}'
        )
    if name.partition("/")[0] not in parts:
        raise ValueError(f'`feed_dict` keys must begin with "features" or "labels". Received: {name!r}.')
    for other in fed:
        if f"{other}/".startswith(f"{name}/") or f"{name}/".startswith(f"{other}/"):
            raise ValueError(
                "Each place in the batch may be fed once in a step, by one hook. "
                f"Received: {other!r} and {name!r}, which overlap."
            )


def _replaced(part: Any, path: Sequence[Any], value: Any) -> Any:
    if path:
        key, *rest = path
        if isinstance(part, Mapping):
            return {**part, key: _replaced(part[key], rest, value)}
        return like(part, [_replaced(item, rest, value) if index == key else item for index, item in enumerate(part)])
    if isinstance(part, Tensor) and isinstance(value, Tensor):
        return value.to(part.dtype)
    return value
