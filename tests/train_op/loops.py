"""Training loops over a small network: this package's, and plain PyTorch's."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from torchestimator.checkpoint.json_document import decode, encode
from torchestimator.strategy.single_device import SingleDevice
from torchestimator.train_op.optimization import Optimization

BACKWARD = SingleDevice("cpu").backward


class Net(nn.Module):
    """Two layers in two parts, the same weights each time."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Linear(4, 6)
            self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def batches(sizes, seed=1):
    """Pairs of features [size, 4] and labels [size] of 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(0, 3, (size,), generator=generator)) for size in sizes
    ]


def loss_of(net, batch):
    return F.cross_entropy(net(batch[0]), batch[1])


class Loop:
    """What the trainer does of a step: forward, gradients, update.

    Args:
        describe: function of network and batch that returns the train_op.
        data: the batches, the first of which the description is made from.
        scaler: loss scaling.
    """

    def __init__(self, describe, data, scaler=None):
        self.net = Net()
        self.describe = describe
        self.scaler = scaler
        self.optimization = Optimization(describe(self.net, data[0]), self.net, BACKWARD, scaler)
        self.train_op = None

    def run(self, data, finish=False):
        """Trains on the batches; returns itself."""
        for batch in data:
            self.train_op = self.describe(self.net, batch)
            self.optimization.differentiate(self.train_op, len(batch[0]))
            self.optimization.apply(self.train_op)
        if finish:
            self.optimization.finish(self.train_op)
        return self

    def save(self):
        """What a checkpoint holds: the model's tensors, the slots, and the JSON document as bytes."""
        slots = {name: value.clone() for name, value in self.optimization.slots().items()}
        return copy.deepcopy(self.net.state_dict()), slots, encode(self.optimization.state_dict(), "optimization")

    def load(self, saved):
        """Goes on from what `save` gave; returns itself."""
        tensors, slots, document = saved
        self.net.load_state_dict(tensors)
        self.optimization.load({name: value.clone() for name, value in slots.items()}, decode(document))
        return self


def weights(net):
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def assert_same(one, other):
    """Both have the same weights, bit by bit."""
    for name, value in weights(one).items():
        assert torch.equal(value, other.state_dict()[name]), name


def assert_close(one, other, tolerance=1e-6):
    for name, value in weights(one).items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=0, atol=tolerance, msg=name)


def plain_loop(data, make_optimizer, make_scheduler=None, clip_norm=None, loss=loss_of):
    """The loop that anyone would write: one update per batch; returns the network."""
    net = Net()
    optimizer = make_optimizer(list(net.parameters()))
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    for batch in data:
        optimizer.zero_grad()
        loss(net, batch).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return net
