"""The models of the table of steps: networks and data that all contenders share. Each learns with Adam."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.benchmarks.contenders import bare, problem
from tests.benchmarks.contenders.requests import Requests

LEARNING_RATE = 1e-3
_BATCHES = 100
"""Batches of an epoch."""
_TOKENS = 128
_WORDS = 1000
_CLASSES = 10


@dataclass(frozen=True)
class Model:
    """A row of the table."""

    network: Callable[[], nn.Module]
    """Makes it; it gives logits [batch, classes]."""
    arrays: Callable[[], tuple[NDArray[np.generic], NDArray[np.int64]]]
    """Makes the features [rows, ...] and class ids [rows]."""
    batch_size: int
    """Rows of a batch."""

    def tensors(self) -> tuple[Tensor, Tensor]:
        """What `arrays` makes."""
        x, y = self.arrays()
        return torch.from_numpy(x), torch.from_numpy(y)


class Transformer(nn.Module):
    """Four encoder layers, 256 wide, over words: [batch, 128] -> [batch, classes]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, 256)
        self.places = nn.Parameter(torch.zeros(_TOKENS, 256))
        layer = nn.TransformerEncoderLayer(256, nhead=4, dim_feedforward=512, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=4, enable_nested_tensor=False)
        self.head = nn.Linear(256, _CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """[batch, 128] -> [batch, classes]."""
        encoded: Tensor = self.encoder(self.words(words) + self.places)
        logits: Tensor = self.head(encoded.mean(1))
        return logits


class ResidualBlock(nn.Module):
    """Two convolutions and a way around them (He et al., https://arxiv.org/abs/1512.03385, figure 5)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        stride = 1 if width_in == width else 2
        self.inner = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.outer = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, images: Tensor) -> Tensor:
        """[batch, width_in, height, height] -> [batch, width, height / stride, height / stride]."""
        return F.relu(self.inner(images) + self.outer(images))


def resnet() -> nn.Sequential:
    """ResNet-18 for images of 32 x 32, with a quarter of its channels: [batch, 3, 32, 32] -> [batch, classes]."""
    blocks = [
        ResidualBlock(width_in, width)
        for width_in, width in ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128))
    ]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, _CLASSES),
    )


def _convnet() -> nn.Module:
    from recipes.digits import ConvNet  # it brings torchestimator, which the other contenders' memory is free of

    return ConvNet(channels=1, width=24)


def _images(batch_size: int, *shape: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    num_rows = _BATCHES * batch_size
    return random.random((num_rows, *shape), dtype=np.float32), random.integers(0, _CLASSES, num_rows)


def _sentences(batch_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    num_rows = _BATCHES * batch_size
    return random.integers(0, _WORDS, (num_rows, _TOKENS)), random.integers(0, _CLASSES, num_rows)


MODELS = {
    "MLP": Model(bare.network, problem.arrays, problem.BATCH),
    "convnet": Model(_convnet, functools.partial(_images, 64, 1, 8, 8), 64),
    "transformer": Model(Transformer, functools.partial(_sentences, 16), 16),
    "ResNet": Model(resnet, functools.partial(_images, 32, 3, 32, 32), 32),
}
"""By the name that a task ends with."""


def tasks(**verbs: Callable[[Model, Requests], None]) -> Mapping[str, Callable[[Requests], None]]:
    """A contender's tasks: each verb with each model, under names like `train transformer`."""
    return {
        f"{verb} {name}": functools.partial(function, model)
        for verb, function in verbs.items()
        for name, model in MODELS.items()
    }
