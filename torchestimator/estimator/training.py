"""One call of Estimator.train: what is opened, restored, saved in need and closed."""

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from torchestimator.checkpoint.lock import ModelDirLock
from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.checkpoint.store import CheckpointStore
from torchestimator.estimator.blueprint import Blueprint
from torchestimator.estimator.default_hooks import training_hooks
from torchestimator.estimator.models import Model, Models
from torchestimator.hooks.checkpoint_saver import CheckpointSaverHook, CheckpointSaverListener
from torchestimator.hooks.hook import SessionRunHook
from torchestimator.hooks.nan import NanLossDuringTrainingError
from torchestimator.hooks.progress import ProgressBarHook
from torchestimator.hooks.stop import StopAtStepHook
from torchestimator.log import LOG
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.seeds import derive_seed, forked_random
from torchestimator.spec import EstimatorSpec
from torchestimator.trainer.first_batch import FirstBatch
from torchestimator.trainer.interruption import Interruption
from torchestimator.trainer.training_session import TrainingSession


class Training:
    """The surroundings of a training loop, as a context manager.

    Args:
        blueprint: the model.
        models: where the model in training is made known.
        input_fn: gives the data.
        steps: how many steps; None: no limit.
        max_steps: the global step at which to stop; None: no limit.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        models: Models,
        input_fn: Callable[..., Any],
        steps: int | None,
        max_steps: int | None,
    ) -> None:
        self._blueprint = blueprint
        self._models = models
        self._input_fn = input_fn
        self._stop = None if steps is None and max_steps is None else StopAtStepHook(steps, max_steps)
        config = blueprint.config
        assert config.model_dir is not None
        self._store = CheckpointStore(
            config.model_dir, config.keep_checkpoint_max, config.keep_checkpoint_every_n_hours
        )
        self._interruption = Interruption()
        self._stack = contextlib.ExitStack()
        self._stream: FirstBatch | None = None
        self._spec: EstimatorSpec | None = None
        self.session: TrainingSession
        self.hooks: list[SessionRunHook] = []

    def __enter__(self) -> Self:
        blueprint = self._blueprint
        # The training's random numbers are its own: the program's go on as if it had not happened.
        seed = derive_seed(blueprint.seed, "training")
        self._stack.enter_context(forked_random(blueprint.strategy.device, seed))
        if blueprint.strategy.is_chief:
            self._stack.enter_context(ModelDirLock(self._store.model_dir))
        self._stack.enter_context(self._interruption)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self.hooks:
            if isinstance(hook, ProgressBarHook):
                hook.close()
        if self._stream is not None:
            self._stream.close()
        self._stack.close()

    def open(self, user_hooks: Sequence[SessionRunHook], listeners: Sequence[CheckpointSaverListener]) -> bool:
        """Opens the input, builds the model and restores the newest valid checkpoint.

        Returns:
            False if the input gave no batch.
        """
        session = self._store.load_newest_valid(self._begin) or self._begin(None)
        if session is None or self._spec is None:
            return False
        self.session = session
        self.hooks = training_hooks(self._blueprint.config, self._store, self._spec, user_hooks, listeners, self._stop)
        return True

    def save_in_emergency(self, error: BaseException) -> None:
        """Saves the last complete step before an error ends the training; never hides the error itself."""
        session = self.session
        saves = any(isinstance(hook, CheckpointSaverHook) for hook in self.hooks)
        if isinstance(error, NanLossDuringTrainingError) or not saves or not session.can_save():
            return
        if session.saved() is not None:
            return
        try:
            path = session.save(self._store)
        except Exception:  # noqa: BLE001 - the first error is the one to report
            LOG.exception("The state of step %d could not be saved.", session.global_step)
        else:
            LOG.warning("%s: saved step %d first: %s", type(error).__name__, session.global_step, path)

    def final_loss(self) -> float | None:
        """The loss of the last step; None where there was none."""
        return self.session.last_loss()

    def _begin(self, checkpoint: Checkpoint | None) -> TrainingSession | None:
        blueprint = self._blueprint
        if self._stream is not None:
            self._stream.close()
        position = None if checkpoint is None else checkpoint.state["input"]
        self._stream = blueprint.open(self._input_fn, ModeKeys.TRAIN, position, resumes=checkpoint is not None)
        if self._stream is None and position is not None:
            LOG.info("The input had been read to its end: it starts anew.")
            self._stream = blueprint.open(self._input_fn, ModeKeys.TRAIN)
        if self._stream is None:
            return None
        module, self._spec = blueprint.build(self._stream.first, ModeKeys.TRAIN)
        if checkpoint is None:
            blueprint.initialise(module, None)
        session = TrainingSession(
            module,
            self._spec.train_op,
            blueprint.strategy,
            self._stream,
            blueprint.config.precision,
            self._interruption,
        )
        if checkpoint is not None:
            LOG.info("Restoring parameters from %s", checkpoint.path)
            session.restore(checkpoint)
        self._models.train(Model(module, session.call, None), session)
        return session
