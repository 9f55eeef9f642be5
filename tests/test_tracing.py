"""What Python may look at in eager execution and while a graph is made."""

import torch

from torchestimator.tracing import is_eager, is_readable, is_tracing, sizes


def test_eager_tensors_may_be_read():
    assert is_eager(torch.zeros(2))
    assert is_readable(torch.nn.Parameter(torch.zeros(2)))
    assert not is_readable(torch.zeros(2, device="meta"))
    assert not is_tracing()


def test_tensors_in_a_graph_may_not():
    seen = []

    class Look(torch.nn.Module):
        def forward(self, x):
            seen.append((is_eager(x), is_readable(x), tuple(map(int, sizes(x)))[1:]))
            return x + 1

    torch.export.export(Look(), (torch.zeros(2, 3),), strict=False)
    assert seen
    assert {(eager, readable) for eager, readable, _ in seen} == {(False, False)}
    assert {size for *_, size in seen} == {(3,)}
