"""Which checkpoint was the best so far."""

import json
import math
import os
from typing import Any

from torchestimator.checkpoint.filesystem import replace_file
from torchestimator.checkpoint.store import CheckpointStore
from torchestimator.log import LOG

LABEL = "best"
"""The label under which the store keeps the best checkpoint from being deleted."""


class BestCheckpoint:
    """The evaluated checkpoint with the lowest loss; it outlives retention and restarts.

    The record lies in `model_dir/best.json`: name of the checkpoint, its step and its loss.

    Args:
        model_dir: folder of the checkpoints.
    """

    def __init__(self, model_dir: str) -> None:
        self._path = os.path.join(model_dir, "best.json")
        self._store = CheckpointStore(model_dir)

    def loss(self) -> float:
        """The best loss so far, infinity before the first and when its checkpoint is gone."""
        try:
            with open(self._path, encoding="utf-8") as file:
                record = json.load(file)
            loss, checkpoint = float(record["loss"]), os.path.join(self._store.model_dir, record["checkpoint"])
        except FileNotFoundError:
            return math.inf
        except (ValueError, KeyError, TypeError):
            LOG.warning("%s can't be read; the next evaluation counts as the best.", self._path)
            return math.inf
        return loss if os.path.isdir(checkpoint) else math.inf

    def consider(self, checkpoint_path: str, results: dict[str, Any]) -> bool:
        """Notes the checkpoint if its loss is lower than all before; returns whether it is."""
        loss = float(results["loss"])
        if not loss < self.loss():
            return False
        self._store.pin(LABEL, checkpoint_path)
        record = {"checkpoint": os.path.basename(checkpoint_path), "step": int(results["global_step"]), "loss": loss}
        replace_file(self._path, json.dumps(record).encode())
        return True
