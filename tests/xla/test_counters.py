"""Counts of compilations, reads and fallbacks."""

import torch
import torch_xla

from torchestimator import xla


def test_a_new_graph_and_a_read_are_counted(strategy):
    x = torch.ones(7, 3).to(strategy.device)
    torch_xla.sync()
    before = xla.counters()
    for _ in range(3):
        y = (x * 3 + 1).sum(0)
        torch_xla.sync()
    after = xla.counters()
    assert after.compilations - before.compilations == 1
    assert after.reads == before.reads
    assert strategy.to_host([y, x])[0].tolist() == [28.0] * 3
    assert xla.counters().reads == before.reads + 1


def test_operations_on_the_host_are_named(strategy):
    torch.unique(torch.ones(4).to(strategy.device))
    assert any("unique" in name for name in xla.counters().fallbacks)
