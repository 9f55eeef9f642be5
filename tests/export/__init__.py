"""Tests of torchestimator.export."""
