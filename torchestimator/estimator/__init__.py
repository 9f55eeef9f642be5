"""The public face: Estimator and train_and_evaluate."""
