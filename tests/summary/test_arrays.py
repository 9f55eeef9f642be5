"""Array summaries."""

import numpy as np
import pytest
import torch
from tensorboard.util.tensor_util import make_ndarray

from tests.summary.event_files import load
from torchestimator.summary.arrays import ArraySummary
from torchestimator.summary.writer import EventWriter


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0.1, 0.2]), np.float64),
        (np.array([[1, 2], [3, 4]], np.int32), np.int64),
        (torch.tensor([0.5, 0.25], dtype=torch.bfloat16), np.float32),
        (torch.tensor([True, False]), np.int64),
    ],
)
def test_arrays_are_read_back(tmp_path, values, dtype):
    writer = EventWriter(tmp_path)
    writer.scalars({"per_class": values, "loss": 0.5}, 9)
    writer.close()
    read = load(tmp_path)
    assert read.Tags()["scalars"] == ["loss"]
    (event,) = read.Tensors("per_class")
    array = make_ndarray(event.tensor_proto)
    assert (event.step, array.dtype) == (9, dtype)
    np.testing.assert_array_equal(array, torch.as_tensor(values).double().numpy())


def test_complex_values_are_refused():
    with pytest.raises(TypeError, match="must be real"):
        ArraySummary.of("x", torch.tensor([1j, 2j]))
