"""What may be looked at: values only where they are on the host and nothing is being traced."""

import torch
from torch import Tensor


def sizes_are_numbers() -> bool:
    """Whether sizes can be compared here. While TorchScript traces they are tensors, and were compared before."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is None


def readable(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be checked here without waiting for a device or breaking a trace.

    True on the CPU in eager execution. False on any other device, and while a step is being captured, exported,
    compiled or traced: there a bad value makes the loss NaN, which the trainer notices.
    """
    if torch.compiler.is_compiling() or not sizes_are_numbers():
        return False
    # Stand-ins of tracers, and tensors spread over devices, are subclasses.
    return type(tensor) is Tensor and tensor.is_cpu
