"""ClusterRole: what a program may want to know about its process's part in a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchestimator.cluster.environment import read_environment


@dataclass(frozen=True, kw_only=True)
class ClusterRole:
    """The part of this process; the defaults are those of a single process.

    Jobs and indices are TF_CONFIG's. Where torchrun or SLURM started the processes, rank 0 is the "chief" and rank r
    "worker" r - 1.
    """

    cluster: Mapping[str, tuple[str, ...]]
    """Addresses by job name from TF_CONFIG; empty without it, and for an evaluator."""
    task_type: str = "worker"
    """"chief", "worker", "ps", "evaluator" or "master"."""
    task_id: int = 0
    """Index of this process within its job."""
    model_dir: str | None = None
    """The model_dir that TF_CONFIG asks for."""
    service: Mapping[str, Any] | None = None
    """The free-form "service" part."""
    world_size: int | None = None
    """Number of processes that torchrun or SLURM started; None where neither did."""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and summaries."""
        is_alone = not self.cluster and self.world_size is None and self.task_type == "worker"
        return is_alone or self.task_type in ("chief", "master")

    @property
    def num_ps_replicas(self) -> int:
        """Number of parameter servers."""
        return len(self.cluster.get("ps", ()))

    @property
    def num_worker_replicas(self) -> int:
        """Number of training processes, the chief included; 0 for an evaluator."""
        if self.task_type == "evaluator":
            return 0
        if self.world_size is not None:
            return self.world_size
        if not self.cluster:
            return 1
        return sum(len(self.cluster.get(job, ())) for job in ("chief", "master", "worker"))

    @property
    def global_id_in_cluster(self) -> int | None:
        """Index over all jobs: chief, then the others by name, parameter servers last; None for an evaluator."""
        if self.task_type == "evaluator":
            return None
        if self.world_size is not None:
            return self.task_id + (self.task_type == "worker")
        before = 0
        for job in sorted(self.cluster, key=_job_order):
            if job == self.task_type:
                return before + self.task_id
            before += len(self.cluster[job])
        return 0

    @property
    def evaluates_separately(self) -> bool:
        """Whether evaluations are left to a process of their own, as in clusters of TF_CONFIG with a "chief"."""
        return self.task_type == "evaluator" or "chief" in self.cluster

    @classmethod
    def from_environment(cls) -> "ClusterRole":
        """Reads and checks TF_CONFIG and the variables of torchrun and SLURM.

        Raises:
            ValueError: they describe no possible cluster, or contradict each other.
        """
        tf_config, plan = read_environment()
        task_type, task_id, world_size = tf_config.task_type, tf_config.task_id, None
        if plan is not None and plan.world_size > 1 and plan.source != "TF_CONFIG":
            task_type, task_id = ("chief", 0) if plan.rank == 0 else ("worker", plan.rank - 1)
            world_size = plan.world_size
        return cls(
            cluster={} if task_type == "evaluator" else tf_config.cluster,
            task_type=task_type,
            task_id=task_id,
            model_dir=tf_config.model_dir,
            service=tf_config.service,
            world_size=world_size,
        )


def _job_order(job: str) -> tuple[int, str]:
    return ({"chief": 0, "master": 0, "ps": 2}.get(job, 1), job)
