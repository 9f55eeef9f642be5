"""What a receiver function declares, in the form in which the exporter works with it."""

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from torchestimator.export.placeholder import (
    BATCH,
    Placeholder,
    free_sizes,
    like_example,
    receiver_run,
    to_tensors_of,
)
from torchestimator.export.receivers import (
    ServingInputReceiver,
    SupervisedInputReceiver,
    TensorServingInputReceiver,
)
from torchestimator.export.tensor_info import TensorInfo
from torchestimator.tree import map_tensors, tensors_of

Receiver = ServingInputReceiver | TensorServingInputReceiver | SupervisedInputReceiver


class ServingInputs:
    """The inputs of an exported graph, and how features (and labels) come of them.

    Args:
        placeholders: by the key under which clients send them.
        compute: gives features and labels of tensors by placeholder name.
        serialized: the key and the placeholder of serialised tf.Examples, if those are sent.
    """

    def __init__(
        self,
        placeholders: Mapping[str, Placeholder],
        compute: Callable[[Mapping[str, Tensor]], tuple[Any, Any]],
        serialized: tuple[str, Placeholder] | None = None,
    ) -> None:
        self.placeholders = dict(placeholders)
        self._compute = compute
        self._serialized = serialized
        self.identifiers = _identifiers(self.placeholders)
        """The argument name of each key in torch files."""

    def batch_sizes(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the wanted batch sizes that are allowed; where all inputs have a fixed size, that."""
        first = {each.shape[0] for each in self.placeholders.values()}
        return wanted if min(first) < 0 else tuple(sorted(first))

    def batch_of(self, tensors: Mapping[str, Tensor]) -> int:
        """The batch size of tensors by key; beside inputs of any size, those of a fixed size are settings."""
        free = [key for key, each in self.placeholders.items() if each.shape[0] < 0]
        return tensors[(free or list(self.placeholders))[0]].shape[0]

    def features_and_labels(self, tensors: Mapping[str, Tensor]) -> tuple[Any, Any]:
        """What model_fn gets.

        Args:
            tensors: by key.
        """
        return self._compute({each.name: tensors[key] for key, each in self.placeholders.items()})

    def rows(self, batch_size: int) -> dict[str, np.ndarray[Any, Any]]:
        """[batch_size, ...] values to try the model with, by key; other free dimensions differ with the batch size."""
        sizes = self._free_sizes(batch_size)
        return {key: each.rows(batch_size, sizes) for key, each in self.placeholders.items()}

    def tensors(self, rows: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
        """The values as the model gets them."""
        return {key: to_tensors_of(each, rows[key]) for key, each in self.placeholders.items()}

    def arguments(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by key as the arguments of a method of a `ServingModule` or of a torch file."""
        return {self.identifiers[key]: tensor for key, tensor in tensors.items()}

    def sizes(self, batch_size: int) -> dict[str, int]:
        """The size of each named dimension in the rows of that batch size."""
        return {BATCH: batch_size, **self._free_sizes(batch_size)}

    def infos(self) -> dict[str, TensorInfo]:
        """The descriptions of the graph's inputs, by key."""
        return {key: each.info(self.identifiers[key]) for key, each in self.placeholders.items()}

    def sent(self) -> dict[str, TensorInfo]:
        """The descriptions of what clients send, by key."""
        if self._serialized is None:
            return self.infos()
        key, serialized = self._serialized
        sent = {key: serialized.info(re.sub(r"\W", "_", key))}
        return sent | {key: info for key, info in self.infos().items() if not self.placeholders[key].parsed_from}

    def example_spec(self) -> dict[str, dict[str, Any]] | None:
        """How the host decodes serialised examples, by feature; None where none are sent."""
        if self._serialized is None:
            return None
        return {key: each.feature.to_json() for key, each in self.placeholders.items() if each.parsed_from}

    def _free_sizes(self, round_number: int) -> dict[str, int]:
        return free_sizes(list(self.placeholders.values()), round_number)


def open_receiver(
    receiver_fn: Callable[[], Any], argument: str = "serving_input_receiver_fn"
) -> dict[str, ServingInputs]:
    """Calls a receiver function and takes in what it declares.

    Args:
        receiver_fn: the user's function.
        argument: how errors call it.

    Returns:
        The inputs under "", and those of `receiver_tensors_alternatives` under their names.

    Raises:
        TypeError: it is no function, or returns something else than a receiver.
        ValueError: receiver tensors and features do not belong together.
    """
    if not callable(receiver_fn):
        raise TypeError(
            f"`{argument}` must be a function that returns a te.export.ServingInputReceiver. "
            f"Received: {receiver_fn!r}. "
            "Write: te.export.build_raw_serving_input_receiver_fn({'x': example_rows})"
        )
    with receiver_run() as run:
        receiver = _called(receiver_fn, argument)
    declared, tensors = dict(run.declared), dict(run.tensors)
    by_tensor = {id(tensor): declared[name] for name, tensor in tensors.items()}
    if not declared:
        found = {"": _of_examples(receiver)}
    else:
        found = {"": _of_placeholders(receiver_fn, argument, receiver, declared, by_tensor)}
    alternatives = getattr(receiver, "receiver_tensors_alternatives", None) or {}
    for name, given in alternatives.items():
        found[name] = _alternative(name, given, receiver, by_tensor)
    return found


def _called(receiver_fn: Callable[[], Any], argument: str) -> Receiver:
    receiver = receiver_fn()
    if not isinstance(receiver, Receiver):
        raise TypeError(
            f"`{argument}` must return a te.export.ServingInputReceiver (or TensorServingInputReceiver, "
            f"SupervisedInputReceiver). Received: {type(receiver).__name__}."
        )
    return receiver


def _of_placeholders(
    receiver_fn: Callable[[], Any],
    argument: str,
    receiver: Receiver,
    declared: dict[str, Placeholder],
    by_tensor: dict[int, Placeholder],
) -> ServingInputs:
    sent: dict[str, Placeholder] = {}
    for key, tensor in receiver.receiver_tensors.items():
        if id(tensor) not in by_tensor:
            raise ValueError(
                f"The receiver tensor {key!r} is no placeholder: clients can't send what is computed. "
                f"`receiver_tensors` must hold what te.export.placeholder returned."
            )
        sent[key] = by_tensor[id(tensor)]
    serialized = [(key, each) for key, each in sent.items() if _is_parsed(each, declared)]
    inputs = {key: each for key, each in sent.items() if not _is_parsed(each, declared)}
    inputs |= {each.name: each for each in declared.values() if each.parsed_from}
    used = {each.name for each in [*inputs.values(), *sent.values()]}
    unused = sorted(declared.keys() - used)
    if unused:
        raise ValueError(
            f"The placeholders {unused} are not among `receiver_tensors`, so that nobody can send them. "
            f"Received: {sorted(sent)}."
        )

    def compute(values: Mapping[str, Tensor]) -> tuple[Any, Any]:
        # The serialised examples themselves never reach the graph.
        known = {**{each.name: next(iter(values.values())) for _, each in serialized}, **values}
        with receiver_run(known):
            again = _called(receiver_fn, argument)
        return again.features, getattr(again, "labels", None)

    return ServingInputs(inputs, compute, serialized[0] if serialized else None)


def _is_parsed(candidate: Placeholder, declared: Mapping[str, Placeholder]) -> bool:
    return any(each.parsed_from == candidate.name for each in declared.values())


def _of_examples(receiver: Receiver) -> ServingInputs:
    """A receiver made of plain tensors: they are examples, and the features must be the same tensors."""
    return _by_identity(
        receiver,
        receiver.receiver_tensors,
        {},
        "`features` must be the tensors in `receiver_tensors`, or be computed from te.export.placeholder(...), which "
        "the exporter can follow",
    )


def _alternative(
    name: str, given: Mapping[str, Tensor], receiver: Receiver, by_tensor: dict[int, Placeholder]
) -> ServingInputs:
    return _by_identity(
        receiver,
        given,
        by_tensor,
        f"`receiver_tensors_alternatives[{name!r}]` must hold all tensors of `features`, to be sent directly",
    )


def _by_identity(
    receiver: Receiver, given: Mapping[str, Tensor], by_tensor: Mapping[int, Placeholder], rule: str
) -> ServingInputs:
    labels = getattr(receiver, "labels", None)
    keys = {id(tensor): key for key, tensor in given.items()}
    missing = [tensor for tensor in tensors_of((receiver.features, labels)) if id(tensor) not in keys]
    if missing:
        raise ValueError(f"{rule}. Received: {len(missing)} other tensors among the features.")
    placeholders = {
        key: by_tensor[id(tensor)] if id(tensor) in by_tensor else like_example(key, tensor, None)
        for key, tensor in given.items()
    }
    names = {key: each.name for key, each in placeholders.items()}

    def compute(values: Mapping[str, Tensor]) -> tuple[Any, Any]:
        features_and_labels = receiver.features, labels
        return map_tensors(lambda tensor: values[names[keys[id(tensor)]]], features_and_labels)  # type: ignore[no-any-return]

    return ServingInputs(placeholders, compute)


def _identifiers(keys: Mapping[str, Any]) -> dict[str, str]:
    """Distinct Python identifiers for keys that may be any strings."""
    taken: set[str] = set()
    identifiers = {}
    for key in keys:
        plain = identifier_of(key)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        identifiers[key] = name
    return identifiers


def identifier_of(key: str) -> str:
    """A Python identifier that resembles the key; an identifier stays as it is."""
    plain = re.sub(r"\W", "_", key, flags=re.ASCII) or "_"
    return f"_{plain}" if plain[0].isdigit() or keyword.iskeyword(plain) or plain == "self" else plain
