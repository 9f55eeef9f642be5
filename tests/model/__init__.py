"""Tests of torchestimator.model."""
