"""The hand-written loop in PyTorch for each model, as it is and with torch.compile."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.contenders.models import LEARNING_RATE, Model, tasks
from tests.benchmarks.contenders.requests import PeakMemory, Requests, Stopwatch, main


def train(model: Model, requests: Requests) -> None:
    """Training steps."""
    network = model.network()
    _train(model, network, _loss_of(network), Stopwatch(requests))


def train_compiled(model: Model, requests: Requests) -> None:
    """Training steps whose forward pass and loss, and with them the backward pass, are compiled."""
    network = model.network()
    _train(model, network, torch.compile(_loss_of(network)), Stopwatch(requests))


def remember(model: Model, requests: Requests) -> None:
    """The peak of the process's memory during training steps."""
    network = model.network()
    _train(model, network, _loss_of(network), PeakMemory(requests))


def remember_compiled(model: Model, requests: Requests) -> None:
    """The peak of the process's memory during training steps of `train_compiled`."""
    network = model.network()
    _train(model, network, torch.compile(_loss_of(network)), PeakMemory(requests))


def _loss_of(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: F.cross_entropy(network(x), y)


def _train(model: Model, network: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], stopwatch: Stopwatch) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for x, y in _batches(model):
        loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not stopwatch.tick():
            return


def _batches(model: Model) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = model.tensors()
    while True:
        order = torch.randperm(len(x))
        for start in range(0, len(x), model.batch_size):
            rows = order[start : start + model.batch_size]
            yield x[rows], y[rows]


if __name__ == "__main__":
    main(
        tasks(train=train, train_compiled=train_compiled, remember=remember, remember_compiled=remember_compiled),
        torch.set_num_threads,
    )
