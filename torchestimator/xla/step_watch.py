"""Watches training steps for what makes them slow on XLA devices, and says so once."""

import importlib
from typing import Any, NamedTuple

from torch import Tensor

from torchestimator.inputs.batch import leaves_of
from torchestimator.log import LOG
from torchestimator.strategy.strategy import Batch

WARM_UP = 4
"""Steps of one shape of batch that may be compiled: the first update of an optimizer differs from later ones."""

MANY_GRAPHS = 3
"""Later steps of known shapes that are compiled before that is told: hooks that look at a step change its graph too."""

MANY_SHAPES = 3
"""Shapes besides the first after which they are said to keep changing."""

_READS = ("aten::_local_scalar_dense", "xla::_to_cpu")

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class _Counts(NamedTuple):
    """What torch_xla has counted so far."""

    compilations: int
    reads: int
    fallbacks: dict[str, int]


class StepWatch:
    """Notes, for one input, new shapes of batches, and in training new graphs, reads and operations on the host.

    The first step is not looked at: building the model and restoring it fall into it.
    """

    def __init__(self) -> None:
        self._steps_of: dict[Shapes, int] = {}
        self._before: _Counts | None = None
        self._shapes: Shapes = ()
        self._late_graphs = 0
        self._said: set[str] = set()

    def begin(self, batch: Batch) -> None:
        """Called when a batch was given out."""
        is_first = not self._steps_of
        shapes = _shapes_of(batch)
        if shapes not in self._steps_of:
            if not is_first:
                self._note_shapes(shapes)
            self._steps_of[shapes] = 0
        self._steps_of[shapes] += 1
        self._shapes = shapes
        self._before = None if is_first else _counts()

    def end(self) -> None:
        """Called when the step with that batch was started."""
        before, self._before = self._before, None
        if before is None:
            return
        after = _counts()
        if after.compilations > before.compilations and self._steps_of[self._shapes] > WARM_UP:
            self._late_graphs += 1
        if self._late_graphs == MANY_GRAPHS:
            self._say(
                "compiled",
                "Training steps keep being compiled anew, although batches of their shape were seen before. Python "
                "numbers or branches in model_fn that change from step to step do that: make them tensors, as "
                "te.get_global_step() is one.",
            )
        if after.reads > before.reads:
            self._say(
                "read",
                "model_fn reads a value of the device in a training step, which waits for it each time: .item(), "
                "float(tensor), .cpu() or `if tensor:`. Compute with the tensor, or name it with te.identity for a "
                "hook.",
            )
        ran = sorted(name for name, count in after.fallbacks.items() if count > before.fallbacks.get(name, 0))
        if ran:
            self._say("fallback", f"These operations run on the host in each step, since XLA has none such: {ran}.")

    def _note_shapes(self, shapes: Shapes) -> None:
        count = len(self._steps_of)
        if count < MANY_SHAPES:
            LOG.info("%s: compiled once more.", _difference(next(iter(self._steps_of)), shapes))
        elif count == MANY_SHAPES:
            LOG.warning(
                "The shapes of batches keep changing, and each new one is compiled: %s. Pad them to one shape.",
                _difference(next(iter(self._steps_of)), shapes),
            )

    def _say(self, what: str, message: str) -> None:
        if what not in self._said:
            self._said.add(what)
            LOG.warning(message)


def _shapes_of(batch: Batch) -> Shapes:
    parts = (
        {"features": batch.features} if batch.labels is None else {"features": batch.features, "labels": batch.labels}
    )
    return tuple(
        (name, tuple(leaf.shape))
        for part, structure in parts.items()
        for name, leaf in leaves_of(structure, part)
        if isinstance(leaf, Tensor)
    )


def _difference(known: Shapes, other: Shapes) -> str:
    before = dict(known)
    changed = [
        f"{name} has the shape {list(shape)} instead of {list(before[name])}"
        for name, shape in other
        if name in before and before[name] != shape
    ]
    return ", ".join(changed) or "the batch has other features"


def _counts() -> _Counts:
    metrics: Any = importlib.import_module("torch_xla.debug.metrics")
    values = {name: metrics.counter_value(name) or 0 for name in ("UncachedCompile", *_READS)}
    fallbacks = {
        name.removeprefix("aten::"): metrics.counter_value(name)
        for name in metrics.counter_names()
        if name.startswith("aten::") and name not in _READS
    }
    return _Counts(values["UncachedCompile"], sum(values[name] for name in _READS), fallbacks)
