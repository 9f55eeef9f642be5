"""The environment variable TF_CONFIG: a cluster's processes by job, and which of them this one is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchestimator.cluster.process_group import ProcessGroupPlan
from torchestimator.cluster.variables import text

VARIABLE = "TF_CONFIG"

_LEADERS = ("chief", "master")


@dataclass(frozen=True, kw_only=True)
class TFConfig:
    """What TF_CONFIG says; the defaults are those of a single process."""

    cluster: Mapping[str, tuple[str, ...]]
    """Addresses by job name, parameter servers included, whatever job this process has."""
    task_type: str = "worker"
    """The job of this process."""
    task_id: int = 0
    """Index of this process within its job."""
    model_dir: str | None = None
    """The model_dir it asks for."""
    service: Mapping[str, Any] | None = None
    """The free-form "service" part."""

    @property
    def trainers(self) -> tuple[str, ...]:
        """The addresses of the processes that train, the chief's first."""
        return tuple(address for job in (*_LEADERS, "worker") for address in self.cluster.get(job, ()))

    def check_jobs(self) -> None:
        """Refuses jobs that have no part here.

        Raises:
            ValueError: there are parameter servers, or jobs of another name.
        """
        if self.cluster.get("ps"):
            raise ValueError(
                f'The cluster in {VARIABLE} has parameter servers ("ps"), which there are none of here: each process '
                "has the whole model (or its shard of it), and processes exchange gradients among themselves. Remove "
                f'"ps" from the cluster, and do not start those processes. Received: {dict(self.cluster)}.'
            )
        others = sorted(set(self.cluster) - {*_LEADERS, "worker", "ps"})
        if others:
            raise ValueError(
                f'The cluster in {VARIABLE} has jobs that take no part in training: {others}. It may have a "chief" '
                f'and "worker"s; an evaluator is started beside them and is not listed. Received: {dict(self.cluster)}.'
            )

    def plan(self) -> ProcessGroupPlan | None:
        """The place of this process among those that train; None where it trains alone or not at all.

        Raises:
            ValueError: an address is no "host:port", or there twice.
        """
        addresses = self.trainers
        if self.task_type not in (*_LEADERS, "worker") or len(addresses) < 2:
            return None
        hosts = [_host(address) for address in addresses]
        if len(set(addresses)) < len(addresses):
            raise ValueError(f"Two processes in {VARIABLE} have the same address. Received: {dict(self.cluster)}.")
        rank = self.task_id + (self.task_type == "worker")
        return ProcessGroupPlan(
            rank=rank,
            local_rank=hosts[:rank].count(hosts[rank]),
            world_size=len(addresses),
            local_world_size=hosts.count(hosts[rank]),
            init_method=f"tcp://{addresses[0]}",
            source="TF_CONFIG",
        )


def read_tf_config() -> TFConfig:
    """Reads and checks TF_CONFIG.

    Raises:
        ValueError: it is not JSON, or describes no possible cluster.
        TypeError: its "service" is no object.
    """
    content = text(VARIABLE)
    if content is None:
        return TFConfig(cluster={})
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"The environment variable {VARIABLE} is not JSON ({error}). Received: {content!r}."
        ) from error
    if not isinstance(document, dict):
        raise ValueError(f"The environment variable {VARIABLE} must hold a JSON object. Received: {content!r}.")
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
    return TFConfig(cluster=cluster, task_type=task_type, task_id=task_id, model_dir=model_dir, service=service)


def _host(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f'The addresses in {VARIABLE} must be "host:port", such as "10.0.0.1:2222". Received: {address!r}.'
        )
    return host


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
