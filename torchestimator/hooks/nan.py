"""NanTensorHook: notices a training that has gone astray."""

from torchestimator.hooks.hook import Session, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.timer import check_cadence
from torchestimator.log import LOG


class NanLossDuringTrainingError(RuntimeError):
    """The loss became NaN."""

    def __init__(self, message: str = "The loss became NaN.") -> None:
        super().__init__(message)


class NanTensorHook(SessionRunHook):
    """Ends training when the loss has become NaN. Infinity passes, as in the original.

    The loss of every step is watched on the device, without a copy to the host; the result is read
    every `every_n_steps`, on the step that ends training, and at the end. Checkpoints have their own
    check: a NaN state is never saved.

    Args:
        loss_tensor: must be "loss", the value that is watched.
        fail_on_nan_loss: raise; otherwise stop with a warning.
        every_n_steps: steps between readings.

    Raises:
        ValueError: `loss_tensor` is another name, or `every_n_steps` is not positive.
        TypeError: `every_n_steps` is not a whole number.
    """

    def __init__(self, loss_tensor: str = "loss", fail_on_nan_loss: bool = True, every_n_steps: int = 1) -> None:
        if loss_tensor != "loss":
            raise ValueError(
                f'`loss_tensor` must be "loss", the loss of the EstimatorSpec. Received: {loss_tensor!r}. '
                "For another value write a hook that asks for it by name in before_run."
            )
        check_cadence(every_n_steps=every_n_steps)
        self._fail = fail_on_nan_loss
        self._every_n_steps = every_n_steps
        self._until_reading = 1
        self._has_warned = False

    def begin(self) -> None:
        """Starts anew; the first step is read."""
        self._until_reading = 1
        self._has_warned = False

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Reads the result where it is due, and before other hooks' `end` takes the training for a good one."""
        self._until_reading -= 1
        if not self._until_reading or run_context.stop_requested:
            self._until_reading = self._every_n_steps
            if self._is_nan(run_context.session):
                run_context.request_stop()

    def end(self, session: Session) -> None:
        """Reads the result of the last steps."""
        if not self._has_warned:
            self._is_nan(session)

    def _is_nan(self, session: Session) -> bool:
        if not session.loss_was_nan():
            return False
        message = (
            f"The loss became NaN at or before step {session.global_step}. Lower the learning rate, clip gradients "
            "with te.minimize(..., clip_norm=1.0), or look for log(0), 0/0 and missing values in the features."
        )
        if self._fail:
            LOG.error(message)
            raise NanLossDuringTrainingError(message)
        LOG.warning(message)
        self._has_warned = True
        return True
