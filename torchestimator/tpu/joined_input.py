"""Batches of several input_fn calls, or several of one, put together for one step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchestimator.inputs.batch import to_tensors
from torchestimator.inputs.iterator import InputIterator, InputMismatchError, is_exhausted


class JoinedInput(InputIterator):
    """Gives for each step the examples of a batch from each source, or of several from each, as one batch.

    At the end of the input a step has the examples that are left.

    Args:
        sources: the opened inputs, from which the parts are taken in turn.
        batches: how many batches of each source make one step.
    """

    def __init__(self, sources: Sequence[InputIterator], batches: int) -> None:
        self._sources = sources
        self._batches = batches
        self.runs_ahead = all(source.runs_ahead for source in sources)

    def __next__(self) -> tuple[Any, Any]:
        parts = [part for source in self._sources for _ in range(self._batches) if (part := next(source, None))]
        if not parts:
            raise StopIteration
        features = joined([part[0] for part in parts])
        return features, None if parts[0][1] is None else joined([part[1] for part in parts])

    def state_dict(self) -> dict[str, Any] | None:
        """The positions of all sources; None where one can't tell its own."""
        states = [source.state_dict() for source in self._sources]
        if any(state is None for state in states):
            return None
        if all(state.get("exhausted") for state in states if state is not None):
            return {"exhausted": True}
        return {"sources": states}

    def load_state_dict(self, state: dict[str, Any] | None) -> bool:
        """Puts all sources to their saved positions; False where one lost its own.

        Raises:
            InputMismatchError: there were another number of sources.
        """
        if state is None or is_exhausted(state):
            return state is not None
        if len(state.get("sources", ())) != len(self._sources):
            raise InputMismatchError(
                f"The checkpoint has the positions of {len(state.get('sources', ()))} inputs, and there are "
                f"{len(self._sources)}: the number of cores or `per_host_input_for_training` has changed."
            )
        saved = zip(self._sources, state["sources"], strict=True)
        return all(source.load_state_dict(position) for source, position in saved)

    def close(self) -> None:
        """Closes all sources."""
        for source in self._sources:
            source.close()


def joined(parts: Sequence[Any]) -> Any:
    """Structures of batches, one after the other along the first dimension.

    Args:
        parts: [batch, ...] tensors, arrays or nested dicts, lists and tuples of such, all alike.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, np.ndarray):
        return np.concatenate(list(parts))
    if isinstance(first, Mapping):
        return {key: joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        items = [joined(column) for column in zip(*parts, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else tuple(items)
    return joined([to_tensors(part)[0] for part in parts])
