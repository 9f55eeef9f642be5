"""Tests of torchestimator.cli."""
