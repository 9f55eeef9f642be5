"""The place in the process group that TF_CONFIG gives."""

import json

import pytest

from torchestimator.cluster.tf_config import read_tf_config

CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "b:2", "a:2"]}


@pytest.fixture
def plan(environment):
    def read(cluster, task_type, index):
        environment({"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})})
        return read_tf_config().plan()

    return read


@pytest.mark.parametrize("leader", ["chief", "master"])
def test_the_places_of_a_cluster(plan, leader):
    cluster = {"worker": CLUSTER["worker"], leader: CLUSTER["chief"]}
    places = [plan(cluster, leader, 0), *(plan(cluster, "worker", index) for index in range(3))]
    assert [(place.rank, place.local_rank) for place in places] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert {(place.world_size, place.local_world_size) for place in places} == {(4, 2)}
    assert {(place.init_method, place.source) for place in places} == {("tcp://a:1", "TF_CONFIG")}


def test_single_processes_and_evaluators_have_no_group(plan):
    assert plan({"chief": ["a:1"]}, "chief", 0) is None
    assert plan(CLUSTER, "evaluator", 0) is None


def test_addresses_may_be_of_version_six(plan):
    assert plan({"chief": ["[::1]:80"], "worker": ["[::2]:80"]}, "chief", 0).init_method == "tcp://[::1]:80"


@pytest.mark.parametrize("address", ["b", "b:", ":1", "b:http", "b:0", "b:65536", "grpc://b:1", "b:1:", ""])
def test_wrong_addresses_are_refused(plan, address):
    with pytest.raises(ValueError, match='must be "host:port"'):
        plan({"chief": ["a:1"], "worker": [address]}, "chief", 0)


def test_equal_addresses_are_refused(plan):
    with pytest.raises(ValueError, match="the same address"):
        plan({"chief": ["a:1"], "worker": ["a:1"]}, "chief", 0)
