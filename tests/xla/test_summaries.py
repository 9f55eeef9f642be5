"""Summaries of tensors on the device."""

import torch

from torchestimator.summary.histograms import HistogramSummary
from torchestimator.summary.scalars import ScalarSummary


def test_they_are_those_of_the_cpu(strategy):
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    for kind, of in ((HistogramSummary, values), (ScalarSummary, values.mean())):
        ours = kind.of("x", of.to(strategy.device)).tensors
        theirs = kind.of("x", of).tensors
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.cpu(), other)
