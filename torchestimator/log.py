"""The package's log lines."""

import logging
import sys
from collections.abc import Callable

LOG = logging.getLogger("torchestimator")
"""Where every line goes. Its level is INFO unless the program sets another."""


class _Terminal(logging.Handler):
    """Shows lines on standard error as long as the program has not configured logging itself."""

    write: Callable[[str], object] | None = None
    """Takes the place of writing to standard error while a progress bar is drawn there."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers:
            return
        line = self.format(record)
        if self.write is not None:
            self.write(line)
        else:
            print(line, file=sys.stderr)


TERMINAL = _Terminal()
TERMINAL.setFormatter(logging.Formatter("%(levelname)s:%(name)s: %(message)s"))

if not LOG.handlers:
    LOG.addHandler(TERMINAL)
    if LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)
