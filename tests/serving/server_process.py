"""The server as its users run it: a process, started by the command line."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class ServerProcess:
    """A running server; `url` is where. What it logs is collected in `lines`."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "torchestimator", "serve", *map(str, arguments), "--port", "0"]
        environment = os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url = self.wait_for(r"at (http://\S+)")[1]
        self.address = self.url.removeprefix("http://")

    def _read(self):
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self.lines.append("(the end)\n")
            self._changed.notify_all()

    def wait_for(self, pattern):
        """The match of the first line, from the beginning or later, that a pattern is found in."""

        def found():
            return next(filter(None, (re.search(f"{pattern}|^\\(the end\\)$", line) for line in self.lines)), None)

        with self._changed:
            match = self._changed.wait_for(found, timeout=60)
        assert match, f"{pattern} was not logged: {self.lines}"
        assert not match[0].startswith("(the end)"), f"the server ended before it logged {pattern}: {self.lines}"
        return match

    def stop(self):
        """Sends SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join()
        self.process.stderr.close()
        return code


@contextmanager
def serving(*arguments):
    """A server for the time of a `with`."""
    server = ServerProcess(*arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
