"""Inputs: from arrays and data frames to batches, and what every input_fn may use."""

from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.numpy_input import numpy_input_fn
from torchestimator.inputs.pandas_input import pandas_input_fn

__all__ = ["InputContext", "fingerprint64", "numpy_input_fn", "pandas_input_fn"]
