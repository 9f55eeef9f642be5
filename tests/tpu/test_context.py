"""What an input_fn learns about the machines."""

import pytest

from torchestimator.tpu import TPUContext
from torchestimator.tpu.topology import Topology


def test_numbers():
    context = TPUContext(Topology(2, 4), current_host=1)
    assert (context.num_replicas, context.num_hosts, context.current_host) == (8, 2, 1)
    assert context.num_of_replicas_per_host == 4


def test_calls_are_counted_over_all_hosts():
    per_core = [
        TPUContext(Topology(2, 4), host, 4, call).current_input_fn_deployment() for host in (0, 1) for call in range(4)
    ]
    assert [deployment.invocation_index for deployment in per_core] == list(range(8))
    assert {deployment[2:] for deployment in per_core} == {(8, 1)}
    per_host = TPUContext(Topology(2, 4), 1, 1, 0).current_input_fn_deployment()
    assert per_host == ("cpu", 1, 2, 4)


def test_a_model_fn_is_not_deployed():
    with pytest.raises(RuntimeError, match="is for input_fn"):
        TPUContext(Topology()).current_input_fn_deployment()
