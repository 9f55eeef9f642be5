"""A channel between the processes of a job that goes over their shared folder."""

import contextlib
import json
import os
import shutil
import time
from typing import Any

from torchestimator.checkpoint.mismatch import shorten

EXCHANGE_FOLDER = ".exchange"

_SHORTEST_PAUSE_SECS = 0.002
_LONGEST_PAUSE_SECS = 0.1


class FolderGroup:
    """Exchanges documents through small files in a `model_dir`, for threads that write in the background.

    torch.distributed's channels belong to the training, whose messages must come in one order on all processes.

    Args:
        model_dir: The folder that all processes see.
        token: A name for this one conversation, the same on all processes and never used before.
        rank: Index of this process.
        num_replicas: Number of processes.
        timeout_secs: How many seconds to wait for the other processes' documents, in each exchange.
    """

    def __init__(self, model_dir: str, token: str, rank: int, num_replicas: int, timeout_secs: float) -> None:
        self.rank = rank
        """Index of this process."""
        self.num_replicas = num_replicas
        """Number of processes."""
        self._folder = os.path.join(model_dir, EXCHANGE_FOLDER)
        self._token = token
        self._timeout_secs = timeout_secs
        self._num_exchanges = 0

    def exchange(self, document: Any) -> list[Any]:
        """Gives every process the documents of all, by rank.

        Raises:
            TimeoutError: A process did not answer in time; the message names it.
        """
        self._num_exchanges += 1
        own = self._path(self.rank)
        with open(f"{own}.tmp", "w") as file:
            json.dump(document, file)
        os.replace(f"{own}.tmp", own)
        deadline = time.monotonic() + self._timeout_secs
        pause = _SHORTEST_PAUSE_SECS
        documents: dict[int, Any] = {}
        while True:
            for rank in range(self.num_replicas):
                if rank not in documents:
                    with contextlib.suppress(FileNotFoundError), open(self._path(rank)) as file:
                        documents[rank] = json.load(file)
            if len(documents) == self.num_replicas:
                return [documents[rank] for rank in range(self.num_replicas)]
            if time.monotonic() > deadline:
                break
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECS)
        missing = [str(rank) for rank in range(self.num_replicas) if rank not in documents]
        raise TimeoutError(
            f"a checkpoint could not be written: process {shorten(missing)} of {self.num_replicas} did not answer "
            f"within {self._timeout_secs:g} seconds. It may have died, be much slower, or not see {self._folder}, "
            "which must be shared. Earlier checkpoints are unharmed"
        )

    def _path(self, rank: int) -> str:
        return os.path.join(self._folder, f"{self._token}.{self._num_exchanges}.{rank}.json")


def open_exchange(model_dir: str) -> None:
    """Makes the folder of the exchanges, without what earlier ones left. For one process of the job."""
    close_exchange(model_dir)
    os.mkdir(os.path.join(model_dir, EXCHANGE_FOLDER))


def close_exchange(model_dir: str) -> None:
    """Removes the folder of the exchanges, when no process is in one any more."""
    shutil.rmtree(os.path.join(model_dir, EXCHANGE_FOLDER), ignore_errors=True)
