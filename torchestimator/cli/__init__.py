"""The command `torchestimator`: one file per subcommand."""
