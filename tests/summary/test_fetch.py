"""Copying tensors to the host."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from torchestimator.summary.fetch import to_host

DTYPES = [torch.float32, torch.float64, torch.int64, torch.uint8, torch.int16]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)), max_size=8))
def test_values_come_in_order_with_their_shapes(specs):
    tensors = [torch.randint(0, 100, shape).to(dtype) for dtype, shape in specs]
    arrays = to_host(tensors)
    assert len(arrays) == len(tensors)
    for tensor, array in zip(tensors, arrays, strict=True):
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(array, tensor.numpy())


class CountJoins(TorchDispatchMode):
    """Counts the joins: one for each copy to the host."""

    joins = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.joins += function is torch.ops.aten.cat.default
        return function(*args, **(kwargs or {}))


def test_there_is_one_copy_for_each_data_type():
    tensors = [torch.tensor(float(index)) for index in range(20)] + [torch.arange(4), torch.arange(3)]
    with CountJoins() as counter:
        to_host(tensors)
    assert counter.joins == 2
