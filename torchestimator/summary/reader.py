"""Reading scalars back from event files, for early stopping and for tools."""

import os
from pathlib import Path

from torchestimator.summary import protos
from torchestimator.summary.records import RecordTail


class ScalarReader:
    """Follows the scalars of a folder's event files.

    Each `poll` reads only what was appended since the last one. The START of a session drops what an earlier,
    interrupted run wrote from that step on, as TensorBoard does.
    """

    def __init__(self, logdir: str | os.PathLike[str], pattern: str = "*.tfevents.*") -> None:
        """Remember the folder; it need not exist yet.

        Args:
            logdir: Folder of event files.
            pattern: Which of its files to read.
        """
        self._logdir = Path(logdir)
        self._pattern = pattern
        self._tails: dict[str, RecordTail] = {}
        self._steps: dict[int, dict[str, float]] = {}

    def poll(self) -> dict[int, dict[str, float]]:
        """Return `{step: {tag: value}}` of everything read so far, in the order of steps.

        A value written twice for one step counts as written last. A file that ends in the middle of a record is read up
        to there, and further at the next call.
        """
        # Names begin with the time of creation, so this is the order in which they were written.
        for name in sorted(path.name for path in self._logdir.glob(self._pattern)):
            if name not in self._tails:
                self._tails[name] = RecordTail(self._logdir / name)
            for record in self._tails[name].read():
                self._take(protos.parse_event(record))
        return {step: dict(self._steps[step]) for step in sorted(self._steps)}

    def _take(self, event: protos.Message) -> None:
        """Add the scalars of one event."""
        if protos.is_session_start(event):
            self._steps = {step: values for step, values in self._steps.items() if step < event.step}
        for value in event.summary.value:
            number = protos.read_scalar(value)
            if number is not None:
                self._steps.setdefault(event.step, {})[value.tag] = number


def read_scalars(logdir: str | os.PathLike[str], pattern: str = "*.tfevents.*") -> dict[int, dict[str, float]]:
    """Return `{step: {tag: value}}` of a folder's event files, in the order of steps; empty if there is no such folder.

    Args:
        logdir: Folder of event files, for example `estimator.eval_dir()`.
        pattern: Which of its files to read.
    """
    return ScalarReader(logdir, pattern).poll()
