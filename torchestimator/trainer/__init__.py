"""The three loops: train, evaluate, predict."""
