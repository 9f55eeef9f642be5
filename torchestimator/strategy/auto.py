"""Chooses where to run when the user leaves it open."""

from torchestimator.cluster import process_group_plan
from torchestimator.config import RunConfig
from torchestimator.strategy.ddp import DDP
from torchestimator.strategy.single_device import SingleDevice
from torchestimator.strategy.strategy import Strategy


def resolve_strategy(config: RunConfig) -> Strategy:
    """The strategy that the configuration asks for.

    "auto" is DDP where the environment describes a job of several processes (torchrun, TF_CONFIG,
    SLURM), else CUDA if there is any, else the CPU. With `num_devices` a plain process starts the
    others, and does not come back from here.

    Raises:
        ValueError: the environment's descriptions are wrong or contradict each other.
        SystemExit: the job that this process has started is over.
    """
    plan = process_group_plan(config.num_devices)
    if plan is None and config.num_devices is not None and config.num_devices > 1 and config.task_type != "evaluator":
        # Torch's launcher takes 25 ms to load.
        from torchestimator.strategy.launcher import start_workers

        start_workers(config.num_devices)
    if isinstance(config.strategy, SingleDevice) and plan is not None:
        raise ValueError(
            f"`strategy={config.strategy!r}` is for one process, and this is {plan}: each would train a model of its "
            'own. Use strategy="auto", te.DDP() or te.FSDP(), or start the script plainly: python script.py'
        )
    if isinstance(config.strategy, Strategy):
        return config.strategy
    return SingleDevice() if plan is None else DDP()
