"""The evaluator: a process of its own that evaluates the checkpoints of a training elsewhere."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.filesystem import create_model_dir, replace_file
from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.checkpoint.store import CheckpointStore
from torchestimator.estimator.estimator import Estimator
from torchestimator.estimator.evaluation import Evaluation
from torchestimator.log import LOG
from torchestimator.trainer.interruption import Interruption

LABEL: Final = "evaluator"
"""The label under which the store keeps the checkpoint in evaluation from being deleted."""

_POLL_SECS = 1.0
"""Seconds between two looks at the model_dir, which read two small files."""

_LOG_SECS = 60.0
"""Seconds between two lines about waiting."""


class EndOfTraining:
    """The note by which the chief tells the evaluator that no further checkpoint will come.

    It is the JSON file `model_dir/training_end.json`. The chief removes it when it starts and writes it when training
    has ended, but not when it failed or was interrupted: then someone will start it again.

    Args:
        model_dir: folder of the checkpoints.
    """

    def __init__(self, model_dir: str) -> None:
        self._path = os.path.join(model_dir, "training_end.json")

    def note(self, step: int | None) -> None:
        """Writes the note; `step` is that of the last checkpoint, None where there is none."""
        create_model_dir(os.path.dirname(os.path.abspath(self._path)))
        replace_file(self._path, json.dumps({"step": step, "ended_at": time.time()}).encode())

    def remove(self) -> None:
        """Takes back the note of an earlier training."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def is_noted(self) -> bool:
        """Whether training has ended."""
        return os.path.exists(self._path)


class Evaluator:
    """Follows the checkpoints of a training and evaluates the newest one, again and again.

    It ends when the checkpoint of `max_steps`, or the last one of a training that has ended otherwise, is evaluated
    and exported. The training never waits for it. A checkpoint that it works on is kept from deletion, and where one
    was deleted or replaced before, the newest is next.

    Args:
        estimator: the model.
        max_steps: the global step at which training is complete; None: when the chief says so.
        evaluations: what to do with a checkpoint.
        poll_secs: seconds between two looks for a new one.
    """

    def __init__(
        self,
        estimator: Estimator,
        max_steps: int | None,
        evaluations: Sequence[Evaluation],
        poll_secs: float = _POLL_SECS,
    ) -> None:
        self._estimator = estimator
        self._max_steps = max_steps
        self._evaluations = evaluations
        self._poll_secs = poll_secs
        self._end = EndOfTraining(estimator.model_dir)
        self._store = CheckpointStore(estimator.model_dir)
        self._checked = False
        self._damaged: Checkpoint | None = None
        self._waiting_since: tuple[int | None, float] | None = None

    def run(self) -> None:
        """Works until training is complete.

        Raises:
            SystemExit: with status 143, after SIGTERM.
            CheckpointDamagedError: the last checkpoint of the training can't be read.
            Exception: an evaluation or an export failed.
        """
        LOG.info("The evaluator follows the checkpoints in %s.", self._estimator.model_dir)
        started = time.monotonic()
        with Interruption():
            while not self._is_done(time.monotonic() - started):
                time.sleep(self._poll_secs)
        LOG.info("The evaluator has evaluated the last checkpoint of the training.")

    def _is_done(self, elapsed_secs: float) -> bool:
        """Does what there is to do; returns whether nothing is left."""
        evaluations = [each for each in self._evaluations if elapsed_secs >= each.spec.start_delay_secs]
        # The note of an earlier training lies there until the chief has started; `start_delay_secs` is its time for
        # that. And it is looked for first: then no checkpoint can come between it and the newest one.
        ended = bool(evaluations) and self._end.is_noted()
        checkpoint = self._newest()
        if checkpoint is None:
            if ended:
                LOG.warning("Training has ended without a checkpoint: there is nothing to evaluate.")
                return True
            self._log_waiting(None)
            return False
        is_final = ended or (self._max_steps is not None and checkpoint.step >= self._max_steps)
        if any(evaluation.next_action(checkpoint, is_final) for evaluation in evaluations):
            self._work(evaluations, checkpoint, is_final)
            # What came meanwhile is looked at next.
            return False
        if is_final and len(evaluations) == len(self._evaluations):
            return True
        self._log_waiting(checkpoint.step)
        return False

    def _work(self, evaluations: Sequence[Evaluation], checkpoint: Checkpoint, is_final: bool) -> None:
        self._waiting_since = None
        try:
            with self._kept(checkpoint):
                if not self._checked:
                    for evaluation in self._evaluations:
                        evaluation.check_exporters(checkpoint.path)
                    self._checked = True
                for evaluation in evaluations:
                    evaluation.carry_out(evaluation.next_action(checkpoint, is_final), checkpoint.path, is_final)
        except (CheckpointDamagedError, FileNotFoundError) as error:
            if _is_there(checkpoint):
                if is_final or not isinstance(error, CheckpointDamagedError):
                    raise
                LOG.warning("The checkpoint %s is passed over: %s", checkpoint.path, error)
                self._damaged = checkpoint
            else:
                LOG.info("The checkpoint %s was deleted or replaced; the newest one is next.", checkpoint.path)

    @contextlib.contextmanager
    def _kept(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Keeps a checkpoint from being deleted.

        Raises:
            FileNotFoundError: it has been already.
        """
        try:
            self._store.pin(LABEL, checkpoint.path)
        except ValueError as error:
            raise FileNotFoundError(str(error)) from error
        try:
            yield
        finally:
            self._store.unpin(LABEL)

    def _newest(self) -> Checkpoint | None:
        path = self._estimator.latest_checkpoint()
        if path is None:
            return None
        with contextlib.suppress(CheckpointDamagedError, FileNotFoundError):
            checkpoint = Checkpoint(path)
            damaged = self._damaged
            if damaged is None or damaged.path != path or damaged.was_replaced():
                return checkpoint
        return None

    def _log_waiting(self, step: int | None) -> None:
        now = time.monotonic()
        last = self._waiting_since
        if last is not None and last[0] == step and now - last[1] < _LOG_SECS:
            return
        self._waiting_since = (step, now)
        if step is None:
            LOG.info("Waiting for a checkpoint in %s.", self._estimator.model_dir)
        else:
            LOG.info("Waiting; the newest checkpoint is of step %d.", step)


def _is_there(checkpoint: Checkpoint) -> bool:
    try:
        return os.path.isdir(checkpoint.path) and not checkpoint.was_replaced()
    except FileNotFoundError:
        return False
