"""The role of this process in a cluster, as the TF_CONFIG environment variable describes it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "TF_CONFIG"


@dataclass(frozen=True, kw_only=True)
class ClusterRole:
    """What TF_CONFIG says about this process; the defaults are those of a single process."""

    cluster: Mapping[str, tuple[str, ...]]
    """Addresses by job name; empty for a single process and for an evaluator."""
    task_type: str = "worker"
    """"chief", "worker", "ps", "evaluator" or "master"."""
    task_id: int = 0
    """Index of this process within its job."""
    model_dir: str | None = None
    """The model_dir that TF_CONFIG asks for."""
    service: Mapping[str, Any] | None = None
    """The free-form "service" part."""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and summaries."""
        return (not self.cluster and self.task_type == "worker") or self.task_type in ("chief", "master")

    @property
    def num_ps_replicas(self) -> int:
        """Number of parameter servers."""
        return len(self.cluster.get("ps", ()))

    @property
    def num_worker_replicas(self) -> int:
        """Number of training processes, the chief included; 0 for an evaluator."""
        if self.task_type == "evaluator":
            return 0
        if not self.cluster:
            return 1
        return sum(len(self.cluster.get(job, ())) for job in ("chief", "master", "worker"))

    @property
    def global_id_in_cluster(self) -> int | None:
        """Index over all jobs: chief, then the others by name, parameter servers last; None for an evaluator."""
        if self.task_type == "evaluator":
            return None
        before = 0
        for job in sorted(self.cluster, key=_job_order):
            if job == self.task_type:
                return before + self.task_id
            before += len(self.cluster[job])
        return 0

    @classmethod
    def from_environment(cls) -> "ClusterRole":
        """Reads and checks TF_CONFIG.

        Raises:
            ValueError: TF_CONFIG is not JSON, or describes no possible cluster.
        """
        text = os.environ.get(VARIABLE, "")
        if not text.strip():
            return cls(cluster={})
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"The environment variable {VARIABLE} is not JSON ({error}). Received: {text!r}."
            ) from error
        if not isinstance(document, dict):
            raise ValueError(f"The environment variable {VARIABLE} must hold a JSON object. Received: {text!r}.")
        cluster = _read_cluster(document.get("cluster") or {})
        task_type, task_id = _read_task(document.get("task") or {}, cluster)
        service = document.get("service")
        if service is not None and not isinstance(service, dict):
            raise TypeError(f'"service" in {VARIABLE} must be an object. Received: {service!r}.')
        model_dir = document.get("model_dir")
        if model_dir is not None and not (isinstance(model_dir, str) and model_dir):
            raise ValueError(
                f'"model_dir" in {VARIABLE} must name a folder. Remove it, or give a path. Received: {model_dir!r}.'
            )
        return cls(
            cluster={} if task_type == "evaluator" else cluster,
            task_type=task_type,
            task_id=task_id,
            model_dir=model_dir,
            service=service,
        )


def _job_order(job: str) -> tuple[int, str]:
    return ({"chief": 0, "master": 0, "ps": 2}.get(job, 1), job)


def _read_cluster(cluster: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(cluster, dict):
        raise ValueError(f'"cluster" in {VARIABLE} must map job names to lists of addresses. Received: {cluster!r}.')
    jobs: dict[str, tuple[str, ...]] = {}
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise ValueError(f'"cluster" in {VARIABLE} must hold lists of addresses. Received: {job}={addresses!r}.')
        jobs[job] = tuple(addresses)
    if not jobs:
        return jobs
    if "master" in jobs and "chief" in jobs:
        raise ValueError(
            f'"cluster" in {VARIABLE} has both a "master" and a "chief", two names of one job; keep one of them, and '
            f"list the other's address as a worker. Received: {jobs}."
        )
    leaders = jobs.get("master", jobs.get("chief", ()))
    if len(leaders) != 1:
        raise ValueError(f'"cluster" in {VARIABLE} must have exactly one "chief". Received: {jobs}.')
    return jobs


def _read_task(task: Any, cluster: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    if not isinstance(task, dict):
        raise ValueError(f'"task" in {VARIABLE} must be an object with "type" and "index". Received: {task!r}.')
    task_type, index = task.get("type"), _read_index(task.get("index"))
    if not cluster:
        if task_type not in (None, "worker") or index not in (None, 0):
            raise ValueError(
                f'Without a "cluster", the task in {VARIABLE} can only be worker 0. Received: {task}. '
                'Give the cluster, or remove "task".'
            )
        return "worker", 0
    if task_type is None or index is None:
        raise ValueError(f'With a "cluster", {VARIABLE} needs "task": {{"type": ..., "index": ...}}. Received: {task}.')
    if task_type == "evaluator":
        if "master" in cluster:
            raise ValueError(f'A cluster with a "master" has no "evaluator" ({VARIABLE}); call it "chief" instead.')
        return task_type, index
    if not isinstance(task_type, str) or task_type not in cluster:
        raise ValueError(f"The task type {task_type!r} in {VARIABLE} is not in the cluster. Jobs: {sorted(cluster)}.")
    if index >= len(cluster[task_type]):
        raise ValueError(
            f"The task index {index} in {VARIABLE} does not exist: job {task_type!r} has {len(cluster[task_type])} "
            "addresses."
        )
    return task_type, index


def _read_index(value: Any) -> int | None:
    try:
        index = None if value is None else int(value)
    except (TypeError, ValueError):
        index = -1
    if index is not None and index < 0:
        raise ValueError(f"The task index in {VARIABLE} must be a number from 0. Received: {value!r}.")
    return index
