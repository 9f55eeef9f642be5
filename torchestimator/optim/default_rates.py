"""The learning rates that ready-made estimators give to optimizers named by a string.

They are those of `tf.estimator` 2.15 (its canned/*.py); the v1 estimators have others in places.
"""

import math

LINEAR = 0.2
"""Linear*, by name; without an optimizer it is `linear_rate`."""

COMBINED_LINEAR = 0.005
"""The linear half of DNNLinearCombined* at most: see `combined_linear_rate`."""

COMBINED_DNN = 0.001
"""The deep half of DNNLinearCombined*."""

DNN = None
"""DNN*: the optimizer's own default, 0.001 and for SGD 0.01. In v1 it was 0.05."""

BASELINE = 0.3
"""Baseline*."""

RNN = 0.05
"""RNN*, together with `RNN_CLIPNORM`."""

RNN_CLIPNORM = 5.0
"""Largest L2 norm of each parameter's gradient in RNN*, where the optimizer is named by a string."""


def linear_rate(num_columns: int) -> float:
    """The rate of Linear* where `optimizer` is None: min(0.2, 1 / sqrt(number of columns))."""
    return min(LINEAR, 1 / math.sqrt(num_columns))


def combined_linear_rate(num_columns: int) -> float:
    """The rate of the linear half of DNNLinearCombined*: min(0.005, 1 / sqrt(number of linear columns))."""
    return min(COMBINED_LINEAR, 1 / math.sqrt(num_columns))
