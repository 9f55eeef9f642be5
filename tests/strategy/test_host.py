"""Copies of tensors as NumPy arrays."""

import numpy as np
import pytest
import torch

from torchestimator.strategy.host import to_arrays


def test_values_and_dtypes_stay():
    tensors = [torch.arange(3), torch.tensor(2.5, dtype=torch.float64), torch.tensor([True]), torch.zeros(0, 2)]
    arrays = to_arrays(tensors)
    assert [array.dtype for array in arrays] == [np.int64, np.float64, np.bool_, np.float32]
    assert [array.shape for array in arrays] == [(3,), (), (1,), (0, 2)]
    assert arrays[0].tolist() == [0, 1, 2]
    assert to_arrays([]) == []


def test_bfloat16_becomes_float32():
    (array,) = to_arrays([torch.tensor([1.5, -2.0], dtype=torch.bfloat16)])
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0]


def test_gradients_conjugates_and_strides_are_no_obstacle():
    x = torch.ones(2, 3, requires_grad=True)
    with torch.inference_mode():
        inferred = torch.ones(2) * 2
    arrays = to_arrays([x * 2, x.T, torch.tensor([1 + 2j]).conj(), inferred])
    assert arrays[0].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert arrays[1].shape == (3, 2)
    assert arrays[2].tolist() == [1 - 2j]
    assert arrays[3].tolist() == [2, 2]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_from_cuda():
    tensors = [torch.arange(5, device="cuda"), torch.ones(2, dtype=torch.bfloat16, device="cuda"), torch.arange(2)]
    assert [array.tolist() for array in to_arrays(tensors)] == [[0, 1, 2, 3, 4], [1, 1], [0, 1]]
