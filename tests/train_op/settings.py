"""Optimizers and schedules that users choose, by name."""

import torch
from torch.optim import lr_scheduler as schedules


def groups(parameters):
    """Weight decay for matrices only."""
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0, "lr": 0.02},
    ]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adam tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
    "adamw groups": lambda p: torch.optim.AdamW(groups(p), lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "adadelta": torch.optim.Adadelta,
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.1, t0=3),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}


class Decay:
    """A schedule function with a state, as a user may write it."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate**step


class DecayOfTensor(Decay):
    """One whose state has no JSON form."""

    def __init__(self, rate):
        super().__init__(rate)
        self.table = torch.linspace(1.0, rate, 50)

    def __call__(self, step):
        return self.table[step].item()


SCHEDULES = {
    "step": lambda o: schedules.StepLR(o, 3, 0.5),
    "multi step": lambda o: schedules.MultiStepLR(o, [2, 7, 7, 11], 0.3),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "lambda object": lambda o: schedules.LambdaLR(o, Decay(0.9)),
    "lambda without json": lambda o: schedules.LambdaLR(o, DecayOfTensor(0.1)),
    "multiplicative": lambda o: schedules.MultiplicativeLR(o, lambda step: 0.95),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 15, 1e-4),
    "warm restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 4, 2),
    "polynomial": lambda o: schedules.PolynomialLR(o, 18, 2.0),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.05, total_steps=25),
    "one cycle, three phases": lambda o: schedules.OneCycleLR(o, 0.05, total_steps=25, three_phase=True),
    "cyclic": lambda o: schedules.CyclicLR(o, 0.001, 0.05, 4, cycle_momentum=False),
    "cyclic function": lambda o: schedules.CyclicLR(o, 0.001, 0.05, 4, cycle_momentum=False, scale_fn=lambda x: 0.9**x),
    "warmup then cosine": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=4), schedules.CosineAnnealingLR(o, 16)], [4]
    ),
    "warmup then steps": lambda o: schedules.SequentialLR(
        o,
        [schedules.ConstantLR(o, 0.1, 5), schedules.MultiStepLR(o, [3, 6], 0.3), schedules.StepLR(o, 2, 0.5)],
        [5, 14],
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.LinearLR(o, 0.1, total_iters=4), schedules.ExponentialLR(o, 0.9)]
    ),
}
