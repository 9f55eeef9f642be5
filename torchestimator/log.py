"""The package's log lines."""

import logging
import sys
from typing import Protocol

LOG = logging.getLogger("torchestimator")
"""Where every line goes. Its level is INFO unless the program sets another."""


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


class _Terminal(logging.Handler):
    """Shows lines on standard error as long as the program has not configured logging itself."""

    stream: _Stream | None = None
    """Takes the place of standard error while a progress bar is drawn there."""

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_superfluous(record.name):
            return
        try:
            (self.stream or sys.stderr).write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a line that can't be shown must not end a training
            self.handleError(record)

    def _is_superfluous(self, name: str) -> bool:
        """Whether another handler gets the records of that logger as well."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


TERMINAL = _Terminal()
TERMINAL.setFormatter(logging.Formatter("%(levelname)s:%(name)s: %(message)s"))

LOG.addHandler(TERMINAL)
if LOG.level == logging.NOTSET:
    LOG.setLevel(logging.INFO)
