"""The hand-written loop in PyTorch, as one writes it for data in memory; and the same with a DataLoader."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.contenders import problem
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main


def network() -> nn.Sequential:
    """[batch, 20] -> [batch, 3] logits."""
    return nn.Sequential(
        nn.Linear(problem.WIDTH, problem.HIDDEN),
        nn.ReLU(),
        nn.Linear(problem.HIDDEN, problem.HIDDEN),
        nn.ReLU(),
        nn.Linear(problem.HIDDEN, problem.CLASSES),
    )


def tensors() -> tuple[Tensor, Tensor]:
    """Features [rows, 20] and class ids [rows]."""
    x, y = problem.arrays()
    return torch.from_numpy(x), torch.from_numpy(y)


def train(requests: Requests) -> None:
    """Training steps."""
    _train(_sliced(), Stopwatch(requests))


def train_from_loader(requests: Requests) -> None:
    """Training steps on what a DataLoader gives."""
    _train(_loaded(), Stopwatch(requests))


def evaluate(requests: Requests) -> None:
    """Batches of an evaluation: mean loss and accuracy."""
    stopwatch = Stopwatch(requests)
    net = network().eval()
    x, y = tensors()
    loss, hits, start = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
    with torch.no_grad():
        while stopwatch.tick():
            logits, labels = net(x[start : start + problem.BATCH]), y[start : start + problem.BATCH]
            loss += F.cross_entropy(logits, labels)
            hits += (logits.argmax(-1) == labels).sum()
            start = (start + problem.BATCH) % problem.NUM_ROWS


def _train(batches: Iterator[tuple[Tensor, Tensor]], stopwatch: Stopwatch) -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=problem.LEARNING_RATE)
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not stopwatch.tick():
            return


def _sliced() -> Iterator[tuple[Tensor, Tensor]]:
    x, y = tensors()
    while True:
        order = torch.randperm(problem.NUM_ROWS)
        for start in range(0, problem.NUM_ROWS, problem.BATCH):
            rows = order[start : start + problem.BATCH]
            yield x[rows], y[rows]


def _loaded() -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(TensorDataset(*tensors()), batch_size=problem.BATCH, shuffle=True)
    while True:
        yield from loader


if __name__ == "__main__":
    main({"train": train, "train_from_loader": train_from_loader, "evaluate": evaluate}, torch.set_num_threads)
