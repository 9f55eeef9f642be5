"""What each figure is to reach."""

from dataclasses import dataclass

MEGA = 1_000_000


@dataclass(frozen=True)
class Aim:
    """A bound for the value of a row."""

    bound: float
    """The value that still meets it."""
    at_least: bool = False
    """Whether values above the bound are good; otherwise those below."""

    def is_met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound


AIMS = {
    "step against the bare loop": Aim(1.05),
    "step against tf.estimator": Aim(1.1),
    "step against Lightning": Aim(0.45),
    "predict throughput against tf.estimator": Aim(3, at_least=True),
    "predictor, one row": Aim(300),
    "import torchestimator": Aim(0.1),
    "checkpoint save": Aim(0.8, at_least=True),
    "checkpoint save, extra memory": Aim(0.1),
    "checkpoint restore, cold": Aim(0.8, at_least=True),
    "checkpoint restore, warm": Aim(0.8, at_least=True),
    "checkpoint restore, extra memory": Aim(0.1),
    "numpy_input_fn, shuffled": Aim(5 * MEGA, at_least=True),
    "fingerprint64, S8": Aim(10 * MEGA, at_least=True),
    "fingerprint64, U8": Aim(10 * MEGA, at_least=True),
    "fingerprint64, object, 8 characters": Aim(10 * MEGA, at_least=True),
}
"""By the name of the row; rows without an aim are there to be known."""
