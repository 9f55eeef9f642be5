"""Where batches lie in memory."""

import numpy as np
import torch

from torchestimator.strategy.alignment import BYTES, aligned


def test_tensors_are_copied_only_where_they_lie_badly():
    memory = torch.arange(100, dtype=torch.float32)
    assert memory.data_ptr() % BYTES == 0
    assert aligned(memory) is memory
    assert aligned(memory[16:]).data_ptr() == memory[16:].data_ptr()
    moved = aligned(memory[3:])
    assert moved.data_ptr() % BYTES == 0
    assert torch.equal(moved, memory[3:])


def test_structures_strides_and_dtypes_stay():
    odd = torch.from_numpy(np.arange(41, dtype=np.int16)[1:].reshape(8, 5)).T
    found = aligned({"a": (odd, None), "b": [odd[1:]]})
    assert torch.equal(found["a"][0], odd)
    assert found["a"][0].dtype == torch.int16
    assert found["a"][0].stride() == odd.stride()
    assert found["a"][1] is None
    assert torch.equal(found["b"][0], odd[1:])
    assert found["b"][0].data_ptr() % BYTES == 0
    assert aligned(None) is None


def test_what_has_no_address_or_a_gradient_is_left_alone():
    sparse = torch.eye(3).to_sparse()
    trained = torch.ones(9, requires_grad=True)
    view = torch.ones(9)[1:].requires_grad_()
    assert aligned(sparse) is sparse
    assert aligned(trained) is trained
    assert aligned(view) is view
    assert aligned(torch.ones(0)).shape == (0,)
