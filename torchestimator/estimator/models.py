"""The models that an Estimator keeps ready, so that nothing is built or read twice."""

from dataclasses import dataclass

from torch import nn

from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.estimator.blueprint import Blueprint, release_metrics
from torchestimator.model.module import ModelFnModule
from torchestimator.spec import EstimatorSpec
from torchestimator.strategy.strategy import Batch
from torchestimator.trainer.training_session import TrainingSession


@dataclass(frozen=True)
class Model:
    """A built model and what the loops call."""

    module: ModelFnModule
    """The model."""
    call: nn.Module
    """The model as the strategy placed it."""
    checkpoint: Checkpoint | None
    """Where its weights are from; None: initial weights, or weights in training."""


class Models:
    """The model in training (or last trained), and the one last read from a checkpoint."""

    def __init__(self) -> None:
        self._session: TrainingSession | None = None
        self._live: Model | None = None
        self._loaded: Model | None = None
        self._released: EstimatorSpec | None = None

    def train(self, model: Model, session: TrainingSession) -> None:
        """Takes in the model that a training works on."""
        self._live, self._session = model, session

    def release_metrics(self) -> None:
        """Empties the metric objects that training steps may have filled, before an evaluation uses them."""
        spec = None if self._session is None else self._session.spec
        if spec is not None and spec is not self._released:
            release_metrics(spec)
            self._released = spec

    @property
    def live(self) -> Model | None:
        """The model in training, or last trained."""
        return self._live

    def find(self, path: str | None, mode: str) -> Model | None:
        """A model at hand with the weights of that checkpoint, or None.

        Where trainings write no checkpoints, `path` is None and the trained model is meant.
        """
        if self._session is not None and self._live is not None and self._session.can_save():
            saved = self._session.saved()
            if (saved.path if saved is not None else None) == path:
                return self._live
        loaded = self._loaded
        if loaded is None or mode not in loaded.module.built_modes:
            return None
        if loaded.checkpoint is None:
            return loaded if path is None else None
        return loaded if loaded.checkpoint.path == path and not loaded.checkpoint.was_replaced() else None

    def load(self, blueprint: Blueprint, path: str | None, batch: Batch, mode: str) -> Model:
        """Builds a model and fills it: from a checkpoint, or by the warm start, or with initial weights."""
        self._loaded = load_model(blueprint, path, batch, mode)
        return self._loaded


def load_model(blueprint: Blueprint, path: str | None, batch: Batch, mode: str) -> Model:
    """Builds a model from a batch and fills it from a checkpoint, if there is one."""
    checkpoint = None if path is None else Checkpoint(path)
    module, _ = blueprint.build(batch, mode)
    blueprint.initialise(module, checkpoint)
    return Model(module, blueprint.strategy.place(module), checkpoint)
