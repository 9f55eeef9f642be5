"""FeedFnHook: values put into each batch."""

from collections.abc import Callable, Mapping
from typing import Any

from torchestimator.hooks.hook import SessionRunArgs, SessionRunContext, SessionRunHook


class FeedFnHook(SessionRunHook):
    """Replaces parts of each batch by what a function gives.

    Args:
        feed_fn: called before each step; returns a dict from places in the batch to values:
            {"features/noise": array, "labels": array}.

    Raises:
        TypeError: `feed_fn` is not a function.
    """

    def __init__(self, feed_fn: Callable[[], Mapping[str, Any]]) -> None:
        if not callable(feed_fn):
            raise TypeError(f"`feed_fn` must be a function without arguments. Received: {feed_fn!r}.")
        self._feed_fn = feed_fn

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:  # noqa: ARG002
        """Gives the values to the coming step."""
        return SessionRunArgs(None, feed_dict=self._feed_fn())
