"""Tests with the real Triton Inference Server: `make test-triton`."""
