"""Turning a checkpoint of a TensorFlow Estimator into one of this library."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchestimator.checkpoint.store import CheckpointStore
from torchestimator.checkpoint.tensorflow.names import (
    KERAS_SLOT,
    NO_WEIGHTS,
    STEPS_OF_ADAM,
    V1_SLOT,
    V1_SLOTS,
    translate,
)
from torchestimator.checkpoint.tensorflow.reader import TensorFlowCheckpoint


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from."""

    variables: tuple[str, ...]
    """TensorFlow's name of it; several, where a partitioned variable's slot has one for each part."""
    shape: tuple[int, ...]
    """Of the tensor here."""
    is_transposed: bool
    """Whether its two dimensions were exchanged."""


@dataclass(frozen=True)
class Translation:
    """A TensorFlow checkpoint under the names and in the layouts of this library; tensors are read when asked for.

    It offers what `Checkpoint` does to those who only read: `path`, `step`, shapes, and tensors by name.
    """

    checkpoint: TensorFlowCheckpoint
    """What is translated."""
    step: int
    """The global step, 0 if it has none."""
    model: Mapping[str, Origin]
    """Weights and buffers, by their names here."""
    optimizer: Mapping[str, Origin]
    """The optimizers' slots, by their names here, `<parameter>/<slot>`."""
    counts: Mapping[str, int]
    """The counts of steps that Adam keeps with each parameter here, `<parameter>/step`, and TensorFlow once."""
    ignored: tuple[str, ...]
    """What has no counterpart: counters, hyperparameters, strings."""

    @property
    def path(self) -> str:
        """The prefix of TensorFlow's files."""
        return self.checkpoint.prefix

    @property
    def model_shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each of the weights and buffers, by name."""
        return {name: self._shape(origin) for name, origin in self.model.items()}

    @property
    def optimizer_shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each tensor of the optimizers, by name."""
        shapes = {name: self._shape(origin) for name, origin in self.optimizer.items()}
        return shapes | dict.fromkeys(self.counts, (torch.float32, ()))

    def read_model(self, name: str) -> Tensor:
        """Reads a weight or buffer.

        Raises:
            CheckpointDamagedError: a file is missing or damaged.
            ValueError: parts of a partitioned variable are missing.
        """
        return self._read(self.model[name])

    def read_optimizer(self, name: str) -> Tensor:
        """Reads a tensor of an optimizer as `read_model` does."""
        if name in self.counts:
            return torch.tensor(float(self.counts[name]))
        return self._read(self.optimizer[name])

    def _shape(self, origin: Origin) -> tuple[torch.dtype, tuple[int, ...]]:
        none = np.empty(0, self.checkpoint.dtype(origin.variables[0]))
        return torch.from_numpy(none).dtype, origin.shape

    def _read(self, origin: Origin) -> Tensor:
        first = origin.variables[0]
        whole = np.empty(self.checkpoint.shape(first), self.checkpoint.dtype(first))
        filled = 0
        for variable in origin.variables:
            for place, values in self.checkpoint.parts(variable):
                whole[place] = values
                filled += values.size
        if filled != whole.size:
            raise ValueError(
                f"{self.path} has {filled} of the {whole.size} values of {first!r}: parts of it are missing."
            )
        return torch.from_numpy(np.ascontiguousarray(whole.T) if origin.is_transposed else whole)


def translate_checkpoint(path: str | os.PathLike[str]) -> Translation:
    """Finds out what a TensorFlow checkpoint's tensors are called here.

    Args:
        path: as for `TensorFlowCheckpoint`.

    Raises:
        FileNotFoundError: there is no TensorFlow checkpoint.
        CheckpointDamagedError: its index is damaged.
        ValueError: two variables would have one name.
    """
    checkpoint = TensorFlowCheckpoint(path)
    weights: dict[str, list[str]] = {}
    slots: dict[tuple[str, str], list[str]] = {}
    ignored = []
    for name in checkpoint.names():
        slot = _slot(name)
        if slot is not None:
            slots.setdefault(slot, []).append(name)
        elif NO_WEIGHTS.fullmatch(name) or checkpoint.dtype(name).kind == "O":
            ignored.append(name)
        else:
            weights[name] = [name]
    # What looks like a slot of a variable that does not exist is a variable of an unlucky name.
    for variable, slot_name in [key for key in slots if key[0] not in weights]:
        weights |= {name: [name] for name in slots.pop((variable, slot_name))}
    model: dict[str, Origin] = {}
    for name, variables in weights.items():
        here = translate(name)[0]
        if here in model:
            raise ValueError(
                f"Two variables of {checkpoint.prefix} would both be called {here!r} here: "
                f"{model[here].variables[0]!r} and {name!r}. Rename one in TensorFlow, and save the checkpoint anew."
            )
        model[here] = _origin(checkpoint, name, variables)
    optimizer = {
        f"{translate(variable)[0]}/{slot}": _origin(checkpoint, variable, variables)
        for (variable, slot), variables in slots.items()
    }
    step = checkpoint.step or 0
    counter = next((name for name in ignored if STEPS_OF_ADAM.fullmatch(name)), None)
    count = step if counter is None else int(checkpoint.get(counter))
    counts = {f"{name.removesuffix('/m')}/step": count for name in optimizer if name.endswith("/m")}
    return Translation(checkpoint, step, model, optimizer, counts, tuple(ignored))


def convert_checkpoint(path: str | os.PathLike[str], model_dir: str | os.PathLike[str]) -> str:
    """Writes a checkpoint of this library from one that a TensorFlow Estimator wrote.

    Kernels are transposed, slots renamed and their partitions joined. The result evaluates, predicts, exports and goes
    on training as it is, and is what `warm_start_from` takes. Random numbers and the position in the input, which
    TensorFlow does not store, start anew.

    Args:
        path: as for `TensorFlowCheckpoint`: a prefix such as `old_dir/model.ckpt-1000`, or a model_dir.
        model_dir: the folder in which `model.ckpt-<step>` is made; created if there is none.

    Returns:
        The path of the new checkpoint.

    Raises:
        FileNotFoundError: there is no TensorFlow checkpoint.
        CheckpointDamagedError: it is damaged.
        ValueError: it has no weights, or `model_dir` has a checkpoint of that step.
    """
    translation = translate_checkpoint(path)
    if not translation.model:
        raise ValueError(f"{translation.path} has no weights. It has: {list(translation.ignored)[:10]}.")
    store = CheckpointStore(model_dir, keep_checkpoint_max=None)
    target = os.path.join(store.model_dir, f"model.ckpt-{translation.step}")
    if os.path.lexists(target):
        raise ValueError(f"{target} exists already. Give another folder, or remove it first.")
    model = {name: translation.read_model(name) for name in translation.model_shapes}
    optimizer = {name: translation.read_optimizer(name) for name in translation.optimizer_shapes}
    state = {"global_step": translation.step, "converted_from": os.path.basename(translation.checkpoint.prefix)}
    return store.save(translation.step, model, optimizer, state)


def _slot(name: str) -> tuple[str, str] | None:
    """The variable and the slot, by its name here, that a name stands for; None for others."""
    match = KERAS_SLOT.fullmatch(name)
    if match is not None:
        return match["variable"], match["slot"]
    match = V1_SLOT.fullmatch(name)
    if match is not None and match["slot"] in V1_SLOTS:
        return match["variable"], V1_SLOTS[match["slot"]]
    return None


def _origin(checkpoint: TensorFlowCheckpoint, variable: str, variables: list[str]) -> Origin:
    shape = checkpoint.shape(variables[0])
    is_transposed = translate(variable)[1] and len(shape) == 2
    return Origin(tuple(variables), shape[::-1] if is_transposed else shape, is_transposed)
