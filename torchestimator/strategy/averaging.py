"""Averages of gradients over replicas, after a backward pass: dense, sparse and missing ones."""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET_BYTES = 25 << 20
"""How much is copied together for one message."""

_DENSE, _SPARSE = 1.0, 4096.0


def average(
    signal: Tensor | None, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None], num_replicas: int
) -> tuple[Tensor, list[Tensor | None], list[int]]:
    """The mean of gradients over all processes.

    Where no replica has a gradient for a parameter there is none afterwards either, so that the
    optimizer leaves it alone; where only some have, the others count as 0.

    Args:
        signal: [n] further numbers to average with the first message; None: none.
        parameters: in the same order everywhere.
        gradients: one for each, or None.
        num_replicas: how many processes there are.

    Returns:
        The mean signal; the mean gradients; the places of those that are sparse or missing.

    Raises:
        ValueError: a gradient is sparse on some replicas and dense on others.
    """
    told = [0.0 if gradient is None else _SPARSE if gradient.is_sparse else _DENSE for gradient in gradients]
    device = parameters[0].device if signal is None else signal.device
    kinds = torch.tensor(told, dtype=torch.float32, device=device)
    message = kinds if signal is None else torch.cat([signal, kinds])
    dist.all_reduce(message)
    length = 0 if signal is None else signal.numel()
    averaged: list[Tensor | None] = [None] * len(gradients)
    dense: list[int] = []
    apart: list[int] = []
    for index, kind in enumerate(message[length:].tolist()):
        sparse, others = divmod(kind, _SPARSE)
        if sparse and others:
            raise ValueError(
                f"The gradient of a parameter of shape {list(parameters[index].shape)} is sparse on {int(sparse)} "
                f"replicas and dense on {int(others)}. Make it sparse in all branches of model_fn, or in none."
            )
        if sparse:
            averaged[index] = _average_sparse(parameters[index], gradients[index], num_replicas)
        (dense if others else apart).append(index)
    for bucket in _buckets(parameters, dense):
        _average_dense(parameters, gradients, averaged, bucket, num_replicas)
    return message[:length].div_(num_replicas), averaged, apart


def _buckets(parameters: Sequence[Tensor], indices: Sequence[int]) -> Iterator[list[int]]:
    """Places of parameters of one dtype that travel together."""
    waiting: dict[torch.dtype, list[int]] = {}
    size: dict[torch.dtype, int] = {}
    for index in indices:
        dtype = parameters[index].dtype
        waiting.setdefault(dtype, []).append(index)
        size[dtype] = size.get(dtype, 0) + parameters[index].nbytes
        if size[dtype] >= BUCKET_BYTES:
            yield waiting.pop(dtype)
            del size[dtype]
    yield from waiting.values()


def _average_dense(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    averaged: list[Tensor | None],
    bucket: Sequence[int],
    num_replicas: int,
) -> None:
    pieces = []
    for index in bucket:
        gradient = gradients[index]
        pieces.append((torch.zeros_like(parameters[index]) if gradient is None else gradient).reshape(-1))
    flat = torch.cat(pieces)
    dist.all_reduce(flat)
    flat.div_(num_replicas)
    for index, piece in zip(bucket, torch.split(flat, [piece.numel() for piece in pieces]), strict=True):
        averaged[index] = piece.view_as(parameters[index])


def _average_sparse(parameter: Tensor, gradient: Tensor | None, num_replicas: int) -> Tensor:
    """The rows of all replicas, one after the other; rows that several have are added when the gradient is used."""
    if gradient is None:
        rows = torch.zeros(0, dtype=torch.int64, device=parameter.device)
        values = parameter.new_zeros((0, *parameter.shape[1:]))
    else:
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
    counts = [torch.zeros(1, dtype=torch.int64, device=parameter.device) for _ in range(num_replicas)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=parameter.device))
    lengths = [int(count) for count in counts]
    all_rows = _gathered(rows, lengths)
    all_values = _gathered(values, lengths).div_(num_replicas)
    return torch.sparse_coo_tensor(all_rows[None], all_values, parameter.shape, check_invariants=False)


def _gathered(own: Tensor, lengths: Sequence[int]) -> Tensor:
    padded = own.new_zeros((max(lengths), *own.shape[1:]))
    padded[: len(own)] = own
    received = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(received, padded)
    return torch.cat([each[:length] for each, length in zip(received, lengths, strict=True)])
