"""Finds the values that hooks ask for by name, and copies just those to the host."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from torchestimator.hooks.hook import Fetches, SessionRunArgs, SessionRunValues
from torchestimator.metrics.torchmetric import as_metric
from torchestimator.spec import EstimatorSpec
from torchestimator.strategy.strategy import Batch, Strategy

SUMMARIES = "summaries"
"""The fetch that gets what model_fn recorded with te.summary; recording happens only on such steps."""

NOTHING = SessionRunValues(None)
"""What a hook gets that asked for nothing."""


class StepValues:
    """The results of one step, by the names that hooks use.

    Args:
        strategy: copies tensors to the host.
        spec: what model_fn returned.
        named: tensors named with te.identity.
        batch: what went in.
        extra: values that the loop itself adds, such as "global_step".
        metrics: running metrics by name, where the loop keeps such.
    """

    __slots__ = ("_batch", "_extra", "_metrics", "_named", "_spec", "_strategy")

    def __init__(
        self,
        strategy: Strategy,
        spec: EstimatorSpec,
        named: Mapping[str, Tensor],
        batch: Batch,
        extra: Mapping[str, Any],
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        self._strategy = strategy
        self._spec = spec
        self._named = named
        self._batch = batch
        self._extra = extra
        self._metrics = metrics

    def fetch(self, fetches: Fetches) -> Any:
        """Host values in the structure of `fetches`.

        Raises:
            ValueError: a name is unknown; the message lists those there are.
            TypeError: a fetch is not a name, such as a tensor of an earlier call.
        """
        found: list[Any] = []
        structure = _map_names(fetches, lambda name: _put(found, self._find(name)))
        tensors: list[Tensor] = []
        marked = [_map_tensors(value, tensors) for value in found]
        arrays = [array.copy() for array in self._strategy.to_host(tensors)]
        values = [_fill(value, arrays) for value in marked]
        return _map_names(structure, lambda index: values[index])

    def answers(self, requests: Sequence[SessionRunArgs | None]) -> list[SessionRunValues]:
        """What each request gets; one copy to the host for all of them together."""
        wanted = [None if request is None else request.fetches for request in requests]
        results = self.fetch([fetches for fetches in wanted if fetches is not None])
        remaining = iter(results)
        return [NOTHING if fetches is None else SessionRunValues(next(remaining)) for fetches in wanted]

    def _find(self, name: str) -> Any:
        if name in self._named:
            return self._named[name]
        if name in self._extra:
            value = self._extra[name]
            return value() if callable(value) else value
        spec = self._spec
        if name == "loss" and spec.loss is not None:
            return spec.loss
        if name == "predictions":
            return spec.predictions
        kind, _, key = name.partition("/")
        if kind == "predictions" and isinstance(spec.predictions, Mapping) and key in spec.predictions:
            return spec.predictions[key]
        metrics = spec.eval_metric_ops if self._metrics is None else self._metrics
        if name == "metrics":
            return {metric: as_metric(value, metric).compute() for metric, value in (metrics or {}).items()}
        if kind == "metrics" and metrics is not None and key in metrics:
            return as_metric(metrics[key], key).compute()
        part = {"features": self._batch.features, "labels": self._batch.labels}.get(kind, _MISSING)
        for step in key.split("/") if key else ():
            part = part[step] if isinstance(part, Mapping) and step in part else _MISSING
        if part is not _MISSING:
            return part
        raise ValueError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        spec = self._spec
        known = [*self._named, *self._extra, "loss", "predictions", "metrics", "labels"]
        if isinstance(spec.predictions, Mapping):
            known += [f"predictions/{key}" for key in spec.predictions]
        known += [f"metrics/{key}" for key in spec.eval_metric_ops or ()]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return (
            f"A hook asks for {name!r}, which this step does not have.{hint} Known names: {sorted(known)}. "
            f"Name other tensors in model_fn: x = te.identity(x, {name!r})"
        )


_MISSING = object()


class _Slot:
    """Stands for the i-th tensor while the tensors are copied together."""

    def __init__(self, index: int) -> None:
        self.index = index


def _put(found: list[Any], value: Any) -> int:
    found.append(value)
    return len(found) - 1


def _map_names(fetches: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(fetches, str | int):
        return function(fetches)
    if isinstance(fetches, Mapping):
        return {key: _map_names(value, function) for key, value in fetches.items()}
    if isinstance(fetches, Sequence):
        return [_map_names(value, function) for value in fetches]
    if isinstance(fetches, Tensor):
        raise TypeError(
            "Hooks ask for values by name, since every step makes new tensors. Received: a tensor. "
            'Name it in model_fn, te.identity(x, "x"), and ask for "x".'
        )
    raise TypeError(f"`fetches` must be names, or nested lists or dicts of names. Received: {fetches!r}.")


def _map_tensors(value: Any, tensors: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors.append(value)
        return _Slot(len(tensors) - 1)
    if isinstance(value, Mapping):
        return {key: _map_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_tensors(item, tensors) for item in value]
    return value


def _fill(value: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(value, _Slot):
        return arrays[value.index]
    if isinstance(value, dict):
        return {key: _fill(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, arrays) for item in value]
    return value
