"""The processes of a job, as far as saving and restoring checkpoints needs them."""

import errno
from collections.abc import Callable
from typing import Any, Protocol

from torchestimator.checkpoint.mismatch import shorten

_KINDS: dict[str, type[Exception]] = {"ValueError": ValueError, "TypeError": TypeError, "RuntimeError": RuntimeError}


class Group(Protocol):
    """The processes that save and restore together."""

    @property
    def rank(self) -> int:
        """Index of this process; process 0 commits checkpoints."""

    @property
    def num_replicas(self) -> int:
        """Number of processes."""

    def exchange(self, document: Any) -> list[Any]:
        """Called by all processes at the same point, each with a JSON value; gives every process all of them, by rank.

        Raises:
            Exception: Another process did not answer.
        """


class _Alone:
    """A job of one process."""

    rank = 0
    num_replicas = 1

    def exchange(self, document: Any) -> list[Any]:
        return [document]


ALONE: Group = _Alone()
"""The group of a process that saves and restores by itself."""


def run_on_all(group: Group, action: Callable[[], Any]) -> list[Any]:
    """Runs an action on every process and gives each of them all results, or the same error.

    Args:
        group: The processes, all of which call this at the same point.
        action: What to run; it may differ between processes, must not talk to others, and returns a JSON value.

    Returns:
        The results by rank.

    Raises:
        Exception: The action's own error, for a process alone. In a job, on every process, an error of the same kind
            whose message names the process that failed.
    """
    result, error = None, None
    try:
        result = action()
    except BaseException as caught:  # noqa: BLE001 (it is raised again once the others know)
        error = caught
    if group.num_replicas == 1:
        if error is not None:
            raise error
        return [result]
    answers = group.exchange({"result": result, "error": _describe(error)})
    failures = {rank: answer["error"] for rank, answer in enumerate(answers) if answer["error"] is not None}
    if error is not None and not isinstance(error, Exception):
        raise error
    if failures:
        raise _failure(failures, group.num_replicas) from error
    return [answer["result"] for answer in answers]


def _describe(error: BaseException | None) -> dict[str, Any] | None:
    """What the other processes need to know of an error."""
    if error is None:
        return None
    kind = next((name for name, base in _KINDS.items() if isinstance(error, base)), "RuntimeError")
    number, message = None, str(error)
    if isinstance(error, OSError):
        number, message = error.errno or errno.EIO, error.strerror or message
    return {"kind": kind, "errno": number, "message": message or type(error).__name__}


def _failure(failures: dict[int, dict[str, Any]], num_replicas: int) -> Exception:
    rank, failure = next(iter(failures.items()))
    others = [str(other) for other in failures if other != rank]
    message = f"process {rank} of {num_replicas} failed: {failure['message']}"
    if others:
        message += f" (and so did process {shorten(others)})"
    if failure["errno"] is not None:
        return OSError(failure["errno"], message)
    return _KINDS[failure["kind"]](message)
