import numpy as np
import pytest
import torch

from torchestimator.checkpoint.tensorflow.dtypes import BFLOAT16, element_size, numpy_dtype, to_array


def test_bfloat16_is_read_exactly():
    values = torch.tensor([1.0, -3.140625, 1e38, float("inf"), 0.0], dtype=torch.bfloat16)
    data = values.view(torch.uint8).numpy()
    np.testing.assert_array_equal(to_array(BFLOAT16, data, True), values.float().numpy(), strict=True)
    assert element_size(BFLOAT16) == 2


def test_byte_orders():
    numbers = np.array([1, -2, 2**40])
    for order, is_little_endian in (("<", True), (">", False)):
        data = np.frombuffer(numbers.astype(f"{order}i8").tobytes(), np.uint8)
        np.testing.assert_array_equal(to_array(9, data, is_little_endian), numbers, strict=True)


@pytest.mark.parametrize(("number", "name"), [(20, "resource"), (11, "qint8"), (99, "of the number 99")])
def test_what_numpy_does_not_have(number, name):
    with pytest.raises(ValueError, match=f"has the dtype {name}, which is not supported"):
        numpy_dtype(number)
