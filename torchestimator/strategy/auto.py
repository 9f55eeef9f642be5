"""Chooses where to run when the user leaves it open."""

import os

from torchestimator.config import RunConfig
from torchestimator.strategy.single_device import SingleDevice
from torchestimator.strategy.strategy import Strategy


def resolve_strategy(config: RunConfig) -> Strategy:
    """The strategy that the configuration asks for; "auto" is CUDA if there, else the CPU.

    Raises:
        ValueError: the environment describes several processes, and no strategy for them was given.
    """
    if isinstance(config.strategy, Strategy):
        return config.strategy
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ValueError(
            f'`strategy="auto"` runs one process on one device, but the environment describes {processes} processes '
            "(WORLD_SIZE, as torchrun sets it). Start the script without torchrun."
        )
    if config.num_worker_replicas > 1 or config.num_ps_replicas:
        raise ValueError(
            f'`strategy="auto"` runs one process on one device, but TF_CONFIG describes a cluster: '
            f"{dict(config.cluster_spec)}. Unset TF_CONFIG to train on this machine alone."
        )
    return SingleDevice()
