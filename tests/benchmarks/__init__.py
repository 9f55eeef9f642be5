"""Speed of torchestimator as ratios to a hand-written loop and to its peers: `make bench`."""
