"""FinalOpsHook: values of the end."""

from typing import Any

from torchestimator.hooks.hook import Fetches, Session, SessionRunHook


class FinalOpsHook(SessionRunHook):
    """Keeps named values of the last step, metrics among them, when the loop ends.

    Args:
        final_ops: names, one or nested: "loss", "metrics/accuracy", ...
        final_ops_feed_dict: no counterpart, must be None.

    Raises:
        ValueError: `final_ops_feed_dict` is given.
    """

    def __init__(self, final_ops: Fetches, final_ops_feed_dict: None = None) -> None:
        if final_ops_feed_dict is not None:
            raise ValueError("`final_ops_feed_dict` has no meaning here: no step runs at the end. Remove the argument.")
        self._final_ops = final_ops
        self._values: Any = None

    @property
    def final_ops_values(self) -> Any:
        """Host values in the structure of `final_ops`; None before the end."""
        return self._values

    def end(self, session: Session) -> None:
        """Fetches them."""
        self._values = session.run(self._final_ops)
