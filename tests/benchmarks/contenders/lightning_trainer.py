"""Lightning, as its users write it: a LightningModule that logs its loss, a Trainer with its defaults, a DataLoader."""

import tempfile
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.contenders import problem
from tests.benchmarks.contenders.bare import network, tensors
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main


class Classifier(lightning.LightningModule):
    """[batch, 20] -> [batch, 3] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Loss of a batch."""
        x, y = batch
        loss = F.cross_entropy(self.network(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=problem.LEARNING_RATE)


class Ticks(lightning.Callback):
    """Tells a stopwatch of each step."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stops when the harness has seen enough."""
        if not self._stopwatch.tick():
            trainer.should_stop = True


def train(requests: Requests) -> None:
    """Training steps with the Trainer's defaults: progress bar, logger, a checkpoint after each epoch."""
    _train(requests)


def train_silently(requests: Requests) -> None:
    """Training steps without progress bar, logger, model summary and checkpoints."""
    _train(
        requests,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
    )


def _train(requests: Requests, **switched_off: Any) -> None:
    trainer = lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        default_root_dir=tempfile.mkdtemp(prefix="lightning-benchmark-"),
        callbacks=[Ticks(Stopwatch(requests))],
        **switched_off,
    )
    trainer.fit(Classifier(), DataLoader(TensorDataset(*tensors()), batch_size=problem.BATCH, shuffle=True))


if __name__ == "__main__":
    main({"train": train, "train_silently": train_silently}, torch.set_num_threads)
