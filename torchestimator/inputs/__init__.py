"""Ready-made input_fns: the counterpart of tf.compat.v1.estimator.inputs, and of tf.data for files."""

from torchestimator.inputs.csv_input import csv_input_fn
from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.numpy_input import numpy_input_fn
from torchestimator.inputs.pandas_input import pandas_input_fn
from torchestimator.inputs.parquet_input import parquet_input_fn
from torchestimator.inputs.tfrecord_input import tfrecord_input_fn

__all__ = [
    "InputContext",
    "csv_input_fn",
    "fingerprint64",
    "numpy_input_fn",
    "pandas_input_fn",
    "parquet_input_fn",
    "tfrecord_input_fn",
]
