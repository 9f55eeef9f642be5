"""`python -m torchestimator`: the command line."""

import sys

from torchestimator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
