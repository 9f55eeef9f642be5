"""Tests of `torchestimator.summary`."""
