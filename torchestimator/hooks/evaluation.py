"""StopAfterNEvalsHook: evaluates a number of batches and says how far it is."""

from torchestimator.hooks.hook import SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.log import LOG


class StopAfterNEvalsHook(SessionRunHook):
    """Ends an evaluation after a number of batches.

    Logs every step of a short evaluation and every tenth part of a long one.

    Args:
        num_evals: batches; None: until the input ends, without lines.
    """

    def __init__(self, num_evals: int | None) -> None:
        self._num_evals = num_evals
        self._every = 1 if num_evals is None or num_evals < 20 else num_evals // 10

    def begin(self) -> None:
        """Starts counting."""
        self._done = 0

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Counts a batch."""
        if self._num_evals is None:
            return
        self._done += 1
        if self._done % self._every == 0 or self._done == self._num_evals:
            LOG.info("Evaluation [%d/%d]", self._done, self._num_evals)
        if self._done >= self._num_evals:
            run_context.request_stop()
