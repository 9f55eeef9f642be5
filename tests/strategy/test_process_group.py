"""Joining: the processes of a restarted job do not meet those that have died."""

import threading
import time

import pytest
from torch._C._distributed_c10d import HashStore, PrefixStore

from torchestimator.cluster import ProcessGroupPlan
from torchestimator.strategy.process_group import agree_on_attempt


def plan(rank, size):
    return ProcessGroupPlan(
        rank=rank, local_rank=rank, world_size=size, local_world_size=size, init_method="env://", source="torchrun"
    )


def attempt(store, size, last_rank):
    """What the processes agree on, of which one comes late."""
    found = {}

    def join(rank):
        time.sleep(0.1 if rank == last_rank else 0)
        found[rank] = agree_on_attempt(plan(rank, size), PrefixStore("job", store))

    threads = [threading.Thread(target=join, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


@pytest.mark.parametrize("last_rank", [0, 1, 2])
def test_all_agree_whoever_comes_last_and_however_often(last_rank):
    store = HashStore()
    names = []
    for _ in range(3):
        found = attempt(store, 3, last_rank)
        assert found.keys() == {0, 1, 2}
        assert len(set(found.values())) == 1
        names.append(found[0])
    assert len(set(names)) == 3


def test_an_attempt_that_was_never_complete_does_no_harm():
    store = HashStore()
    store.set("job/attempt", "given up")
    store.set("job/given up/1", "the token of a process that has died")
    found = attempt(store, 3, 0)
    assert found.keys() == {0, 1, 2}
    assert len(set(found.values())) == 1
    assert found[0] != "given up"
