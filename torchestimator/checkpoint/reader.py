"""Reading one checkpoint."""

import functools
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import digest_of
from torchestimator.checkpoint.folders import step_of
from torchestimator.checkpoint.index import newest_whole
from torchestimator.checkpoint.json_document import decode
from torchestimator.checkpoint.manifest import MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, read_manifest
from torchestimator.checkpoint.mismatch import NameDifferences, compare, shorten
from torchestimator.checkpoint.parallel import run_together
from torchestimator.checkpoint.tensor_file import TensorFile
from torchestimator.checkpoint.tensor_shard import TensorShard


class Checkpoint:
    """A saved model, optimizer and training state.

    Opening reads the manifest and checks that the files are there in their sizes; their contents are read, and checked
    against the manifest, when asked for. It makes no difference how many processes saved it and how many read it: a
    process that fills DTensors reads its part of each. A file is checked as a whole by every process that takes a byte
    from it: where as many processes read as have saved, each checks what it wrote itself and what process 0 wrote for
    all; no process has to check the whole checkpoint, or to trust another one's check.

    Args:
        path: A checkpoint folder such as `model_dir/model.ckpt-300`, or a `model_dir` for its latest one.
        verify: Whether to check the sha256 of what is read. Reading without it is faster from a fast disk, and does not
            notice flipped bits.

    Raises:
        FileNotFoundError: There is no checkpoint at `path`; the message says what there is.
        CheckpointDamagedError: A file is missing or cut, or the manifest is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        self.path = _locate(os.path.abspath(os.fspath(path)))
        """The absolute path of the checkpoint's folder."""
        self._manifest = read_manifest(self.path)
        self._verify = verify

    @property
    def step(self) -> int:
        """The global step it was saved at."""
        return self._manifest.step

    @property
    def saved_at(self) -> float:
        """When it was saved, in seconds since 1970."""
        return self._manifest.saved_at

    @property
    def state(self) -> dict[str, Any]:
        """The training state that was saved, read anew each time."""
        path = os.path.join(self.path, STATE_FILE)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            raise CheckpointDamagedError(path, "it is missing") from None
        if self._verify and digest_of(data) != self._manifest.files[STATE_FILE]:
            raise CheckpointDamagedError(path, "its sha256 differs from the one it was written with")
        try:
            state: dict[str, Any] = decode(data)
        except ValueError as error:
            raise CheckpointDamagedError(path, f"it cannot be read ({error!r})") from error
        return state

    @property
    def model_shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each tensor of the model, by name."""
        return self._model_file.shapes

    @property
    def optimizer_shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of each tensor of the optimizer, by name."""
        return self._optimizer_file.shapes

    @property
    def aliases(self) -> dict[str, str]:
        """Further names of the model's tied tensors, each with the name it is stored under."""
        return dict(self._model_file.aliases)

    def read_model(self, name: str) -> Tensor:
        """Reads one tensor of the model, all of it, into new host memory. The first call checks the whole file.

        Raises:
            ValueError: The model has no tensor of that name.
            CheckpointDamagedError: The file's sha256 differs.
        """
        return self._model_file.read(name)

    def read_optimizer(self, name: str) -> Tensor:
        """Reads one tensor of the optimizer as `read_model` does."""
        return self._optimizer_file.read(name)

    def load_model(self, targets: Mapping[str, Tensor], *, strict: bool = True) -> NameDifferences:
        """Fills the tensors of a model, in place.

        Args:
            targets: The tensors to fill, by name, DTensors among them; a module's `state_dict()` will do.
            strict: Whether the checkpoint must have exactly these names; otherwise those that both have are read.

        Returns:
            The names that only one side has.

        Raises:
            ValueError: Names, shapes or dtypes do not fit; nothing was changed.
            CheckpointDamagedError: The file is damaged; the values of `targets` are undefined.
        """
        return self._model_file.read_into(targets, strict)

    def load_optimizer(self, targets: Mapping[str, Tensor], *, strict: bool = True) -> NameDifferences:
        """Fills the tensors of an optimizer as `load_model` does."""
        return self._optimizer_file.read_into(targets, strict)

    def load(self, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> None:
        """Fills the tensors of a model and its optimizer, reading both files at once.

        Args:
            model: The tensors of the model; exactly those of the checkpoint.
            optimizer: The tensors of the optimizer, likewise.

        Raises:
            ValueError: Names, shapes or dtypes do not fit; nothing was changed.
            CheckpointDamagedError: A file is damaged; the values of `model` and `optimizer` are undefined.
        """
        files = ((self._model_file, model), (self._optimizer_file, optimizer))
        for file, targets in files:
            compare(targets, file.shapes, file.path, strict=True)
        run_together(
            lambda stop: self._model_file.read_into(model, stop=stop),
            lambda stop: self._optimizer_file.read_into(optimizer, stop=stop),
        )

    def was_replaced(self) -> bool:
        """Whether the folder holds another checkpoint by now: its step was saved again after this one was opened.

        The Estimator asks, so that a model it keeps ready is read again only when it has changed.
        """
        try:
            return read_manifest(self.path) != self._manifest
        except CheckpointDamagedError:
            return False

    @functools.cached_property
    def _model_file(self) -> TensorFile:
        return self._open(MODEL_FILE)

    @functools.cached_property
    def _optimizer_file(self) -> TensorFile:
        return self._open(OPTIMIZER_FILE)

    def _open(self, name: str) -> TensorFile:
        names = self._manifest.shards_of(name)
        shards = [
            TensorShard(os.path.join(self.path, shard), self._manifest.files[shard] if self._verify else None)
            for shard in names
        ]
        shown = name if names == [name] else f"{names[0]} to {names[-1]}"
        return TensorFile(os.path.join(self.path, shown), shards=shards)


def _locate(path: str) -> str:
    """The checkpoint folder that `path` means."""
    name = os.path.basename(path)
    if os.path.isdir(path):
        if step_of(name) is not None or os.path.exists(os.path.join(path, MANIFEST_FILE)):
            return path
        newest = newest_whole(path)
        if newest is not None:
            return newest
        listing = sorted(os.listdir(path))
        where = path
    else:
        where = os.path.dirname(path)
        listing = sorted(os.listdir(where)) if os.path.isdir(where) else []
        if f"{name}.index" in listing:
            raise ValueError(
                f"{path} is a checkpoint of TensorFlow; pass it as `warm_start_from` of a new Estimator. "
                "A checkpoint of this library is a folder"
            )
    there = f"holds: {shorten(listing)}" if listing else "is empty or does not exist"
    raise FileNotFoundError(
        f"there is no checkpoint at {path}; give the folder of one, `model_dir/model.ckpt-<step>`, or a `model_dir`. "
        f"{where} {there}"
    )
