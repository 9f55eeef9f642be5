"""Tests of torchestimator.train_op."""
