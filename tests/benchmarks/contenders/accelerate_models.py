"""Accelerate on each model: the loop of its guide, with model, optimizer and DataLoader prepared."""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.contenders.models import LEARNING_RATE, Model, tasks
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main


def train(model: Model, requests: Requests) -> None:
    """Training steps."""
    accelerator = Accelerator(cpu=True)
    network = model.network()
    network, optimizer, loader = accelerator.prepare(
        network,
        torch.optim.Adam(network.parameters(), lr=LEARNING_RATE),
        DataLoader(TensorDataset(*model.tensors()), batch_size=model.batch_size, shuffle=True),
    )
    stopwatch = Stopwatch(requests)
    while True:
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(network(x), y))
            optimizer.step()
            if not stopwatch.tick():
                return


if __name__ == "__main__":
    main(tasks(train=train), torch.set_num_threads)
