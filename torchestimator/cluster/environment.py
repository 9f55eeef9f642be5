"""What the environment says about this process's group: torchrun's variables, else TF_CONFIG, else SLURM's."""

import functools

from torchestimator.cluster.process_group import ProcessGroupPlan
from torchestimator.cluster.slurm import read_slurm
from torchestimator.cluster.tf_config import VARIABLE, TFConfig, read_tf_config
from torchestimator.cluster.torchrun import Torchrun, read_torchrun
from torchestimator.log import LOG


def process_group_plan(num_devices: int | None = None) -> ProcessGroupPlan | None:
    """The place of this process among those that train together, checked before anything is started.

    Logs it, once per process.

    Args:
        num_devices: how many processes the program wants on this machine; None: as many as there are.

    Returns:
        None where this process works on its own: started plainly, by a torchrun of one process, as the only process
        of a cluster, or as its evaluator.

    Raises:
        ValueError: the environment's descriptions are incomplete or contradict each other or `num_devices`, or the
            cluster has jobs that there are none of here.
    """
    tf_config, plan = read_environment()
    tf_config.check_jobs()
    if tf_config.task_type == "evaluator":
        _log_once(f"This process is the evaluator of its cluster, from {VARIABLE}.")
    elif plan is not None:
        _check_num_devices(num_devices, plan)
        if plan.world_size > 1:
            _log_once(f"This is {plan}.")
            return plan
    return None


def read_environment() -> tuple[TFConfig, ProcessGroupPlan | None]:
    """TF_CONFIG, and the place of this process in its group; torchrun's group may have one process only.

    Raises:
        ValueError: a description is wrong, or two contradict each other.
    """
    tf_config, torchrun = read_tf_config(), read_torchrun()
    if torchrun is not None:
        _check_agreement(tf_config, torchrun)
        return tf_config, torchrun.plan
    return tf_config, tf_config.plan() if tf_config.cluster else read_slurm()


def _check_agreement(tf_config: TFConfig, torchrun: Torchrun) -> None:
    started, listed = torchrun.plan.world_size, len(tf_config.trainers)
    if tf_config.task_type == "evaluator" and started > 1:
        raise ValueError(
            f"{VARIABLE} says that this process is an evaluator, which is a single process, but torchrun started "
            f"{started}. Start it plainly: python script.py"
        )
    # A torchrun on each of the machines that are listed may start several processes there.
    if tf_config.task_type != "evaluator" and listed > 1 and listed not in (started, torchrun.num_machines):
        raise ValueError(
            f"{VARIABLE} lists {listed} training processes, but torchrun started {started}. Unset {VARIABLE} where "
            f"torchrun starts the processes, or start them without it. Received: {dict(tf_config.cluster)}."
        )


def _check_num_devices(num_devices: int | None, plan: ProcessGroupPlan) -> None:
    here = plan.world_size if plan.local_world_size is None else plan.local_world_size
    if num_devices not in (None, here):
        raise ValueError(
            f"`num_devices={num_devices}`, but {plan.source} describes {here} process(es) on this machine. Leave "
            "`num_devices` out: whoever starts the processes decides; or start one plain process: python script.py"
        )


@functools.cache
def _log_once(line: str) -> None:
    LOG.info("%s", line)
