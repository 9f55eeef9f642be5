"""The environment of processes that torchrun starts."""

import pytest

from torchestimator.cluster.torchrun import read_torchrun

FOUR = {"RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "GROUP_WORLD_SIZE": 2}
MEETING = {"MASTER_ADDR": "host", "MASTER_PORT": 29500}


def test_the_place_of_a_process(environment):
    assert read_torchrun() is None
    environment(FOUR | MEETING)
    found = read_torchrun()
    plan = found.plan
    assert (plan.rank, plan.local_rank, plan.world_size, plan.local_world_size) == (3, 1, 4, 2)
    assert (plan.init_method, plan.source, found.num_machines) == ("env://", "torchrun", 2)
    assert str(plan) == "process 3 of 4 (worker), local rank 1, rendezvous at env://, from torchrun"


def test_one_process_per_machine_needs_no_local_rank(environment):
    environment({"RANK": 1, "WORLD_SIZE": 2, **MEETING})
    assert read_torchrun().plan.local_rank == 0


def test_one_process_needs_no_meeting_place(environment):
    environment({"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0})
    assert read_torchrun().plan.world_size == 1


@pytest.mark.parametrize("name", ["WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"])
def test_other_variables_alone_say_nothing(environment, name):
    environment({name: 2})
    assert read_torchrun() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": ""}, r"only in part: RANK is not set. Received: \['LOCAL_RANK', 'WORLD_SIZE'\]"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is not set"),
        ({"MASTER_ADDR": ""}, r"\['MASTER_ADDR'\] must be set"),
        ({"MASTER_ADDR": " ", "MASTER_PORT": ""}, r"\['MASTER_ADDR', 'MASTER_PORT'\] must be set"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT must be a whole number from 1. Received: 'http'"),
        ({"MASTER_PORT": 65536}, "port up to 65535"),
        ({"RANK": "first"}, "RANK must be a whole number from 0. Received: 'first'"),
        ({"RANK": -1}, "Received: '-1'"),
        ({"RANK": 4}, "RANK and WORLD_SIZE contradict each other"),
        ({"WORLD_SIZE": 0}, "WORLD_SIZE must be a whole number from 1"),
        ({"LOCAL_RANK": 2}, "LOCAL_RANK and LOCAL_WORLD_SIZE contradict each other"),
        ({"LOCAL_WORLD_SIZE": 5}, "more processes on this machine than on all"),
        ({"LOCAL_WORLD_SIZE": "", "LOCAL_RANK": 4}, "more processes on this machine than on all"),
    ],
)
def test_what_can_not_be_is_refused(environment, changes, message):
    environment(FOUR | MEETING | changes)
    with pytest.raises(ValueError, match=message):
        read_torchrun()
