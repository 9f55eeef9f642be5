"""From what a user's input_fn returns to an iterator over batches."""

import inspect
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from torchestimator.inputs.column import is_data
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.iterator import InputIterator
from torchestimator.inputs.sharding import shard
from torchestimator.inputs.sources import DatasetItems, IterableInput, RepeatedCall
from torchestimator.log import LOG
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.arguments import function_name, named_arguments

INPUT_FN_ARGUMENTS = ("mode", "params", "config", "input_context")
"""Everything that can be passed to an input_fn."""

_FORMS = (
    "an input_fn returns a DataLoader, a Dataset or any iterable of (features, labels) batches; "
    "or one (features, labels) batch, and is then called for each step until it raises StopIteration"
)


def open_input(
    input_fn: Callable[..., Any],
    mode: str,
    params: Any,
    config: Any,
    input_context: InputContext,
) -> InputIterator:
    """Calls an input_fn and returns an iterator over its batches.

    What the result means: a DataLoader, an IterableDataset, a generator or any other iterable gives batches; so do the
    items of a map-style Dataset, in the order of their index (the Dataset is expected to hold batches, as a tf.data
    pipeline does); a list of pairs or dicts is a list of batches. A pair of structures, or a dict, tensor or array
    alone, is one batch: the input_fn is then called again for each step until it raises StopIteration (the contract
    of tf.contrib.learn and the first Estimators).

    Of several processes, each gets its share: what an input_fn that names `input_context` makes of it, otherwise every
    N-th batch (see `sharding.shard`). What an input_fn draws from the global generators while it is called (a random
    split, say) has to be the same in all processes: the caller puts these into one state.

    Args:
        input_fn: a function of any of `mode`, `params`, `config` and `input_context`, found by name.
        mode: a value of `ModeKeys`.
        params: the hyperparameters.
        config: the run's configuration.
        input_context: which input pipeline this is.

    Raises:
        TypeError: if `input_fn` is no function, needs other arguments, or returns nothing that batches can come from.
        ValueError: if it returns a tuple or list of another length than 2, or what several processes cannot share.
    """
    values = {"mode": mode, "params": params, "config": config, "input_context": input_context}
    call, passed = _bound(input_fn, values)
    source = _source(call, mode, input_fn)
    if input_context.num_input_pipelines == 1 or "input_context" in passed:
        return source
    return shard(source, mode, input_context, getattr(config, "random_seed", None))


def _source(call: Callable[[], Any], mode: str, input_fn: Callable[..., Any]) -> InputIterator:
    """The batches of what `call` returns, as one process sees them."""
    try:
        result = call()
    except StopIteration:
        return DatasetItems([])
    if isinstance(result, InputIterator):
        return result
    if isinstance(result, IterableDataset | DataLoader):
        return IterableInput(result)
    if isinstance(result, Dataset):
        return DatasetItems(result)
    if _is_batch(result, input_fn):
        if mode == ModeKeys.PREDICT:
            LOG.warning(
                "`input_fn` (%s) returned one batch, so it is called again for each step and prediction goes on until "
                "it raises StopIteration. To predict just this batch, return a list of it: [features].",
                function_name(input_fn),
            )
        return RepeatedCall(call, result)
    if isinstance(result, (list, tuple)):
        return DatasetItems(result)
    if isinstance(result, Iterable) and not isinstance(result, (str, bytes)):
        return IterableInput(result)
    raise _no_input(result, input_fn)


def _bound(input_fn: Any, values: dict[str, Any]) -> tuple[Callable[[], Any], Collection[str]]:
    """Returns `input_fn` with the arguments that it names, and their names."""
    if not callable(input_fn):
        if input_fn is None:
            raise TypeError(f"`input_fn` is missing. Received: None; {_FORMS}.")
        shown = {DataLoader: "loader", Dataset: "dataset", Iterator: "batches", tuple: "(features, labels)"}
        name = next((name for kind, name in shown.items() if isinstance(input_fn, kind)), "batches")
        raise TypeError(
            f"`input_fn` must be a function that makes the input, so that each run can start it afresh. "
            f"Received: {type(input_fn).__name__}. Write: `input_fn=lambda: {name}`."
        )
    parameters = named_arguments(input_fn, "input_fn")
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in values
    ]
    if needed:
        raise TypeError(
            f"`input_fn` ({function_name(input_fn)}) needs arguments that nothing is passed for: {needed}. "
            f"Passed by name are {list(INPUT_FN_ARGUMENTS)}. Bind the others first: "
            f"`input_fn=lambda: {function_name(input_fn)}({needed[0]}=...)`."
        )
    arguments = {name: value for name, value in values.items() if name in parameters}
    return lambda: input_fn(**arguments), arguments.keys()


def _is_batch(result: Any, input_fn: Callable[..., Any]) -> bool:
    """Whether a result is one batch, not something that gives batches."""
    if isinstance(result, (Mapping, torch.Tensor)) or hasattr(result, "__array__"):
        return True
    if not isinstance(result, (tuple, list)):
        return False
    pairs = all(isinstance(item, (tuple, list)) and len(item) == 2 and not is_data(item) for item in result)
    if len(result) == 2:
        return not pairs
    if isinstance(result, list):
        dicts = all(isinstance(item, Mapping) for item in result)
        if pairs or dicts or (len(result) == 1 and not is_data(result)):
            return False
    kinds = ", ".join(type(item).__name__ for item in result)
    raise ValueError(
        f"`input_fn` ({function_name(input_fn)}) returned a {type(result).__name__} of {len(result)} elements, neither "
        f"a pair (features, labels) nor a list of batches. Received: ({kinds}). "
        'Several features go into a dict: return {"a": a, "b": b}, labels.'
    )


def _no_input(result: Any, input_fn: Callable[..., Any]) -> TypeError:
    name = function_name(input_fn)
    if result is None:
        return TypeError(f"`input_fn` ({name}) returned None: is its `return` missing? Remember: {_FORMS}.")
    if callable(result):
        return TypeError(
            f"`input_fn` ({name}) returned a function. Received: {reprlib.repr(result)}. `numpy_input_fn(...)` and its "
            "like make an input_fn themselves: pass their result, `input_fn=numpy_input_fn(...)`, without a lambda."
        )
    return TypeError(f"`input_fn` ({name}) must return its input: {_FORMS}. Received: {reprlib.repr(result)}.")
