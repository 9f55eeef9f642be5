"""host_memory: cutting and copying tensors of any strides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.checkpoint.tensors import contiguous, same_bits, tensors
from torchestimator.checkpoint.digest import NoHash, StreamHash
from torchestimator.checkpoint.host_memory import HostBuffers, byte_view, copy_bits, is_plain, split


@settings(deadline=None, max_examples=80)
@given(tensor=tensors(), max_elements=st.integers(1, 40))
def test_pieces_are_small_and_make_up_the_tensor_in_row_major_order(tensor: Tensor, max_elements: int) -> None:
    pieces = list(split(tensor, max_elements))
    assert all(piece.numel() <= max_elements for piece in pieces)
    joined = b"".join(bytes(byte_view(contiguous(piece))) for piece in pieces)
    assert joined == bytes(byte_view(contiguous(tensor)))


@settings(deadline=None, max_examples=100)
@given(tensor=tensors())
def test_copies_have_every_bit(tensor: Tensor) -> None:
    target = torch.empty(tensor.shape, dtype=tensor.dtype)
    copy_bits(target, tensor)
    assert same_bits(target, tensor)


def test_plain_tensors_share_their_bytes() -> None:
    tensor = torch.zeros(3, 2, requires_grad=True)
    byte_view(tensor)[0:4] = torch.tensor(1.5).numpy().tobytes()
    assert tensor.flatten().tolist() == [1.5, 0, 0, 0, 0, 0]
    values = torch.zeros(2, 3, dtype=torch.complex64)
    assert is_plain(values)
    assert not any(is_plain(view) for view in (values.t(), values.conj(), values.conj().imag, values.to("meta")))


@pytest.mark.parametrize("kind", [StreamHash, NoHash])
def test_buffers_come_back_when_they_were_read(kind: type[StreamHash]) -> None:
    buffers = HostBuffers(pinned=False)
    taken = []
    with kind() as stream_hash:
        for number in range(7):
            buffer = buffers.take()
            taken.append(buffer.data_ptr())
            buffer.fill_(number)
            buffers.give_back(buffer, stream_hash.update(byte_view(buffer)))
    assert len(set(taken)) == 3
    assert taken[:3] == taken[3:6]
