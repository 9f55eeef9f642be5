"""Which of the environment's descriptions counts, and where they contradict each other."""

import json

import pytest

from tests.cluster.test_slurm import STEP
from tests.cluster.test_torchrun import MEETING
from torchestimator.cluster import process_group_plan
from torchestimator.cluster.environment import _log_once

TWO = {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, **MEETING}
CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


def tf_config(cluster, task_type, index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})}


@pytest.fixture(autouse=True)
def nothing_logged_yet():
    _log_once.cache_clear()


def test_a_plain_process_is_on_its_own(environment, caplog):
    environment({})
    assert process_group_plan() is None
    assert process_group_plan(4) is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("variables", "rank", "source"),
    [
        (TWO, 1, "torchrun"),
        (TWO | STEP, 1, "torchrun"),
        (tf_config(CLUSTER, "worker", 1), 2, "TF_CONFIG"),
        (tf_config(CLUSTER, "worker", 1) | STEP, 2, "TF_CONFIG"),
        (STEP, 5, "SLURM"),
        ({"TF_CONFIG": '{"model_dir": "runs"}'} | STEP, 5, "SLURM"),
        # A torchrun on each machine of a cluster, with several processes each.
        (TWO | tf_config(CLUSTER, "chief") | {"WORLD_SIZE": 6, "RANK": 4, "GROUP_WORLD_SIZE": 3}, 4, "torchrun"),
        # The only process of a cluster has started others.
        (TWO | tf_config({"chief": ["a:1"]}, "chief"), 1, "torchrun"),
    ],
)
def test_the_order_of_precedence(environment, caplog, variables, rank, source):
    environment(variables)
    plan = process_group_plan()
    assert (plan.rank, plan.source) == (rank, source)
    assert process_group_plan() == plan
    (record,) = caplog.records
    assert record.getMessage() == f"This is {plan}."


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1},
        tf_config({"chief": ["a:1"]}, "chief"),
        {"RANK": 0, "WORLD_SIZE": 1} | tf_config({"chief": ["a:1"]}, "chief"),
        {"RANK": 0, "WORLD_SIZE": 1} | tf_config(CLUSTER, "evaluator"),
        tf_config(CLUSTER, "evaluator"),
        tf_config(CLUSTER, "evaluator") | STEP,
    ],
)
def test_single_processes(environment, variables):
    environment(variables)
    assert process_group_plan() is None


def test_an_evaluator_is_told_so(environment, caplog):
    environment(tf_config(CLUSTER, "evaluator"))
    assert process_group_plan(4) is None
    assert "the evaluator of its cluster" in caplog.text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (TWO | tf_config(CLUSTER, "chief"), "TF_CONFIG lists 3 training processes, but torchrun started 2"),
        ({"RANK": 0, "WORLD_SIZE": 1} | tf_config(CLUSTER, "chief"), "but torchrun started 1"),
        (TWO | tf_config(CLUSTER, "evaluator"), "an evaluator, which is a single process, but torchrun started 2"),
        (tf_config(CLUSTER | {"ps": ["d:1"]}, "worker"), '"ps".*Remove'),
        (tf_config(CLUSTER | {"ps": ["d:1"]}, "ps"), '"ps".*Remove'),
        (tf_config(CLUSTER | {"ps": ["d:1"]}, "evaluator"), '"ps".*Remove'),
        (tf_config(CLUSTER | {"cook": ["d:1"]}, "worker"), r"take no part in training: \['cook'\]"),
    ],
)
def test_contradictions_and_jobs_of_no_use_are_refused(environment, variables, message):
    environment(variables)
    with pytest.raises(ValueError, match=message):
        process_group_plan()


@pytest.mark.parametrize(
    ("variables", "fitting"),
    [
        (TWO, 2),
        (TWO | {"WORLD_SIZE": 6}, 2),
        ({"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}, 1),
        (tf_config(CLUSTER, "worker"), 1),
        (STEP, 4),
        (STEP | {"SLURM_STEP_TASKS_PER_NODE": "5,3"}, 8),
    ],
)
def test_num_devices_must_fit(environment, variables, fitting):
    environment(variables)
    process_group_plan(fitting)
    with pytest.raises(ValueError, match=rf"`num_devices={fitting + 1}`, but .* {fitting} process\(es\)"):
        process_group_plan(fitting + 1)
