"""Lightning on each model: a LightningModule that logs its loss, a Trainer with its defaults, a DataLoader."""

import tempfile
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.contenders.lightning_trainer import Ticks
from tests.benchmarks.contenders.models import LEARNING_RATE, Model, tasks
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main


class Classifier(lightning.LightningModule):
    """A network with its loss and its optimizer."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Loss of a batch."""
        x, y = batch
        loss = F.cross_entropy(self.network(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)


def train(model: Model, requests: Requests) -> None:
    """Training steps."""
    trainer = lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        default_root_dir=tempfile.mkdtemp(prefix="lightning-benchmark-"),
        callbacks=[Ticks(Stopwatch(requests))],
    )
    loader = DataLoader(TensorDataset(*model.tensors()), batch_size=model.batch_size, shuffle=True)
    trainer.fit(Classifier(model.network()), loader)


if __name__ == "__main__":
    main(tasks(train=train), torch.set_num_threads)
