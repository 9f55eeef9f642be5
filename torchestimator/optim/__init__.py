"""Optimizers with TensorFlow's numbers, as torch optimizers.

    te.minimize(loss, lambda params: te.optim.Ftrl(params, learning_rate=0.1))

torch's own optimizers of the same names differ: in where their accumulators start, in the place and
size of epsilon, and in what a sparse gradient does.
"""

from torchestimator.optim import default_rates
from torchestimator.optim.adagrad import Adagrad
from torchestimator.optim.adam import Adam
from torchestimator.optim.ftrl import Ftrl
from torchestimator.optim.rmsprop import RMSProp
from torchestimator.optim.selection import get
from torchestimator.optim.sgd import SGD

__all__ = ["Adagrad", "Adam", "Ftrl", "RMSProp", "SGD", "default_rates", "get"]  # noqa: RUF022 (plain order everywhere)
