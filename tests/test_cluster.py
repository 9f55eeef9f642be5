"""The role of a process as the environment describes it."""

import json

import pytest

from torchestimator.cluster import ClusterRole

CLUSTER = {"ps": ["d:1", "e:1"], "worker": ["b:1", "c:1"], "chief": ["a:1"]}
WITH_MASTER = {"master": ["a:1"], "worker": ["b:1"], "ps": ["d:1"]}
WITH_OTHERS = {"zeta": ["f:1"], "chief": ["a:1"], "alpha": ["g:1", "h:1"], "ps": ["d:1"]}


@pytest.fixture
def role(monkeypatch):
    def read(document):
        monkeypatch.setenv("TF_CONFIG", document if isinstance(document, str) else json.dumps(document))
        return ClusterRole.from_environment()

    return read


def test_without_tf_config_there_is_one_process(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    alone = ClusterRole.from_environment()
    assert alone == ClusterRole(cluster={})
    assert (alone.task_type, alone.task_id, alone.is_chief) == ("worker", 0, True)
    assert (alone.num_worker_replicas, alone.num_ps_replicas, alone.global_id_in_cluster) == (1, 0, 0)


@pytest.mark.parametrize(
    "document",
    ["", " ", "{}", {"cluster": {}}, {"task": {}}, {"task": {"type": "worker", "index": "0"}}, {"task": None}],
)
def test_without_a_cluster_there_is_one_process(role, document):
    assert role(document) == ClusterRole(cluster={})


@pytest.mark.parametrize(
    ("cluster", "task_type", "index", "global_id", "is_chief", "workers", "servers"),
    [
        (CLUSTER, "chief", 0, 0, True, 3, 2),
        (CLUSTER, "worker", 0, 1, False, 3, 2),
        (CLUSTER, "worker", 1, 2, False, 3, 2),
        (CLUSTER, "worker", "1", 2, False, 3, 2),
        (CLUSTER, "ps", 0, 3, False, 3, 2),
        (CLUSTER, "ps", 1, 4, False, 3, 2),
        (CLUSTER, "evaluator", 0, None, False, 0, 0),
        (CLUSTER, "evaluator", 3, None, False, 0, 0),
        (WITH_MASTER, "master", 0, 0, True, 2, 1),
        (WITH_MASTER, "worker", 0, 1, False, 2, 1),
        (WITH_MASTER, "ps", 0, 2, False, 2, 1),
        (WITH_OTHERS, "alpha", 1, 2, False, 1, 1),
        (WITH_OTHERS, "zeta", 0, 3, False, 1, 1),
        (WITH_OTHERS, "ps", 0, 4, False, 1, 1),
        ({"chief": ["a:1"]}, "chief", 0, 0, True, 1, 0),
    ],
)
def test_roles(role, cluster, task_type, index, global_id, is_chief, workers, servers):
    read = role({"cluster": cluster, "task": {"type": task_type, "index": index}})
    assert (read.task_type, read.task_id) == (task_type, int(index))
    assert (read.global_id_in_cluster, read.is_chief) == (global_id, is_chief)
    assert (read.num_worker_replicas, read.num_ps_replicas) == (workers, servers)
    assert read.cluster == ({} if task_type == "evaluator" else {job: tuple(those) for job, those in cluster.items()})


def test_the_other_parts(role):
    read = role({"service": {"a": 1}, "model_dir": "runs", "environment": "cloud"})
    assert (read.service, read.model_dir) == ({"a": 1}, "runs")


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ("{", ValueError, "TF_CONFIG is not JSON"),
        ("[]", ValueError, "must hold a JSON object"),
        ({"task": {"type": "chief"}}, ValueError, 'Without a "cluster".*can only be worker 0'),
        ({"task": {"type": "evaluator", "index": 0}}, ValueError, "can only be worker 0"),
        ({"task": {"index": 1}}, ValueError, "can only be worker 0"),
        ({"task": {"index": "one"}}, ValueError, "must be a number from 0. Received: 'one'"),
        ({"task": "worker"}, ValueError, '"task" in TF_CONFIG must be an object'),
        ({"cluster": ["a"]}, ValueError, '"cluster" in TF_CONFIG must map job names'),
        ({"cluster": {"chief": "a:1"}}, ValueError, "lists of addresses. Received: chief='a:1'"),
        ({"cluster": {"worker": ["a:1"]}}, ValueError, 'exactly one "chief"'),
        ({"cluster": {"chief": ["a:1", "b:1"]}}, ValueError, 'exactly one "chief"'),
        ({"cluster": {"chief": ["a:1"], "master": ["b:1"]}}, ValueError, 'both a "master" and a "chief"'),
        ({"cluster": CLUSTER}, ValueError, 'needs "task"'),
        ({"cluster": CLUSTER, "task": {"type": "chief"}}, ValueError, 'needs "task"'),
        ({"cluster": CLUSTER, "task": {"index": 0}}, ValueError, 'needs "task"'),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": -1}}, ValueError, "number from 0. Received: -1"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": []}}, ValueError, r"Received: \[\]"),
        (
            {"cluster": CLUSTER, "task": {"type": "worker", "index": 2}},
            ValueError,
            "does not exist: job 'worker' has 2",
        ),
        ({"cluster": CLUSTER, "task": {"type": "cook", "index": 0}}, ValueError, "'cook' in TF_CONFIG is not in the"),
        ({"cluster": CLUSTER, "task": {"type": ["ps"], "index": 0}}, ValueError, "is not in the cluster"),
        ({"cluster": WITH_MASTER, "task": {"type": "evaluator", "index": 0}}, ValueError, 'has no "evaluator"'),
        ({"service": "x"}, TypeError, '"service" in TF_CONFIG must be an object'),
        ({"model_dir": ""}, ValueError, '"model_dir" in TF_CONFIG must name a folder'),
        ({"model_dir": 5}, ValueError, "Received: 5"),
    ],
)
def test_wrong_descriptions_are_refused(role, document, error, message):
    with pytest.raises(error, match=message):
        role(document)


@pytest.mark.parametrize(
    ("cluster", "task_type", "separately"),
    [
        (CLUSTER, "chief", True),
        (CLUSTER, "worker", True),
        (CLUSTER, "evaluator", True),
        ({"chief": ["a:1"]}, "chief", True),
        (WITH_MASTER, "master", False),
        (WITH_MASTER, "worker", False),
        ({}, "worker", False),
    ],
)
def test_who_evaluates(role, cluster, task_type, separately):
    assert role({"cluster": cluster, "task": {"type": task_type, "index": 0}}).evaluates_separately == separately


SLURM = {"SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "3", "SLURM_LOCALID": "0", "SLURM_NODELIST": "a"}


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "3", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, SLURM])
def test_the_role_tells_the_truth_about_processes_of_torchrun_and_slurm(monkeypatch, variables):
    monkeypatch.setenv("TF_CONFIG", '{"model_dir": "runs"}')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    roles = []
    for rank in range(3):
        monkeypatch.setenv("SLURM_PROCID" if "SLURM_NTASKS" in variables else "RANK", str(rank))
        roles.append(ClusterRole.from_environment())
    assert [role.is_chief for role in roles] == [True, False, False]
    assert [role.global_id_in_cluster for role in roles] == [0, 1, 2]
    assert [(role.task_type, role.task_id) for role in roles] == [("chief", 0), ("worker", 0), ("worker", 1)]
    assert {(role.num_worker_replicas, role.num_ps_replicas) for role in roles} == {(3, 0)}
    assert {(role.model_dir, role.evaluates_separately) for role in roles} == {("runs", False)}


def test_a_torchrun_of_one_process_changes_nothing(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert ClusterRole.from_environment() == ClusterRole(cluster={})


def test_processes_that_the_chief_has_started_leave_evaluations_to_the_evaluator(role, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    read = role({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}})
    assert (read.is_chief, read.num_worker_replicas, read.evaluates_separately) == (False, 2, True)
