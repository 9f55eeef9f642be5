"""Traces a Python function over tensors into a graph, and notices what a graph can't repeat."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from torchestimator.capture.bernoulli import bernoulli_
from torchestimator.capture.errors import CaptureError, explained
from torchestimator.model.seeds import forked_random

LARGEST_CONSTANT = 4096
"""Elements up to which constants of two traces are compared by value."""

_DECOMPOSITIONS = {torch.ops.aten.bernoulli_.float: bernoulli_}


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The graph of `function(*inputs)`; nothing is computed and no input changes.

    It is traced twice: where the two graphs differ, the function depends on something in Python that
    changes from call to call (a counter, random.random()), which a graph would freeze.

    Raises:
        CaptureError: the function can't be traced; names the user's line and the remedy.
    """
    graphs: list[fx.GraphModule] = []
    try:
        # Python's random numbers go on from one trace to the next, so that their use shows.
        with forked_random(), _no_printing():
            for _ in range(2):
                graphs.append(_traced(function, inputs))
    except Exception as error:
        raise explained(error) from error
    first, second = graphs
    if first.code != second.code or _constants(first) != _constants(second):
        raise CaptureError(
            "model_fn: it did different things in two calls with the same batch, so it depends on Python values that "
            "change (a counter, a list that grows, random.random()). A compiled step would freeze them. Use "
            "te.get_global_step() for the step and torch's random functions"
        )
    return first


def _traced(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    # Without a shape environment, reading a value fails at the user's line instead of being traced.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake, _without_onednn():
        stand_ins = [fake.from_tensor(tensor) for tensor in inputs]
        return make_fx(function, _DECOMPOSITIONS, "real", _allow_non_fake_inputs=True)(*stand_ins)


def _constants(traced: fx.GraphModule) -> list[Any]:
    """The values that a graph has as attributes, in the order of their use."""
    return [_value_of(getattr(traced, node.target)) for node in traced.graph.nodes if node.op == "get_attr"]


def _value_of(constant: Any) -> Any:
    """The value of a constant, if it is small enough to be one that was written in Python."""
    value = getattr(constant, "constant", None) if isinstance(constant, FakeTensor) else constant
    return value.tolist() if isinstance(value, Tensor) and value.numel() <= LARGEST_CONSTANT else None


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Keeps oneDNN's LSTM out of a graph: it returns a tensor without storage, which compiled code can't hold."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


class _PrintedTensorError(RuntimeError):
    """A tensor was printed while tracing."""


@contextmanager
def _no_printing() -> Iterator[None]:
    """Makes printing a tensor an error: in a graph it would happen once, while tracing, and never again."""
    shown = torch.Tensor.__repr__, torch.Tensor.__format__

    def refuse(_tensor: Tensor, *_args: Any, **_kwargs: Any) -> str:
        raise _PrintedTensorError("a tensor was printed")

    torch.Tensor.__repr__ = torch.Tensor.__format__ = refuse  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.Tensor.__repr__, torch.Tensor.__format__ = shown  # type: ignore[method-assign]
