"""Ready-made estimators against TensorFlow's, side by side: `python -m tests.parity` shows the table."""
