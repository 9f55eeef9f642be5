"""Values that hooks put in place of parts of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from torchestimator.hooks.hook import SessionRunArgs
from torchestimator.inputs.batch import to_tensors
from torchestimator.strategy.strategy import Batch
from torchestimator.tree import map_tensors


def feed(batch: Batch, requests: Sequence[SessionRunArgs | None], device: torch.device) -> Batch:
    """The batch with every request's `feed_dict` put in.

    Keys are "features", "features/<name>" (nested: "features/<name>/<name>"), "labels" or
    "labels/<name>".

    Raises:
        ValueError: a key is not in the batch, or two hooks feed the same one.
    """
    parts = {"features": batch.features, "labels": batch.labels}
    seen: set[str] = set()
    for request in requests:
        for key, value in (request.feed_dict or {}).items() if request is not None else ():
            if key in seen:
                raise ValueError(f"Two hooks feed {key!r} in the same step.")
            seen.add(key)
            tensors = map_tensors(lambda tensor: tensor.to(device), to_tensors(value, False)[0])
            root, *path = key.split("/")
            if root not in parts:
                raise ValueError(f'`feed_dict` keys must begin with "features" or "labels". Received: {key!r}.')
            parts[root] = _replaced(parts[root], path, tensors, key)
    return batch._replace(features=parts["features"], labels=parts["labels"])


def _replaced(part: Any, path: list[str], value: Any, key: str) -> Any:
    if not path:
        return value
    if not isinstance(part, Mapping) or path[0] not in part:
        known = sorted(part) if isinstance(part, Mapping) else f"a {type(part).__name__}"
        raise ValueError(f"`feed_dict` has the key {key!r}, which the batch does not have. There is: {known}.")
    return {**part, path[0]: _replaced(part[path[0]], path[1:], value, key)}
