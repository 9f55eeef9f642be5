"""TPUEstimatorSpec: what a model_fn of a TPUEstimator gives back."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchestimator.export.outputs import ExportOutput
from torchestimator.hooks.hook import SessionRunHook
from torchestimator.mode_keys import ModeKeys
from torchestimator.spec import EstimatorSpec, Predictions, TrainOp
from torchestimator.tpu.host_call import HostCall, HostCallHook, call_with, check_host_call


@dataclass(frozen=True)
class TPUEstimatorSpec:
    """The model's results for one batch (tf.estimator.tpu.TPUEstimatorSpec).

    Differs from `te.EstimatorSpec` in that metrics are a function and the tensors it gets, so that tf.estimator's
    scripts keep their form. A model_fn may return either.

    Raises:
        TypeError: `eval_metrics` or `host_call` is no pair of function and tensors.
        ValueError: the function takes other arguments; or `scaffold_fn` is given.
    """

    mode: str
    """A value of `ModeKeys`."""
    predictions: Predictions | None = None
    """[batch, ...] a tensor or a dict of such."""
    loss: Tensor | None = None
    """[] the loss of the batch."""
    train_op: TrainOp | None = None
    """The update: `te.minimize(...)`."""
    eval_metrics: tuple[Callable[..., Mapping[str, Any]], Any] | None = None
    """(metric_fn, tensors): metric_fn gets the tensors (of a list by position, of a dict by name) and returns a dict
    of `te.metrics` results. Used in EVAL."""
    export_outputs: Mapping[str, ExportOutput] | None = None
    """Serving signatures by name."""
    scaffold_fn: None = None
    """Refused: initial weights come from the factories of te.get_module and from `warm_start_from`."""
    host_call: HostCall | None = None
    """(function, tensors): called on the host with the values of a training or evaluation step, every
    `TPUConfig.experimental_host_call_every_n_steps` steps. What it returns is not used."""
    training_hooks: Iterable[SessionRunHook] | None = None
    """Hooks that run in training."""
    evaluation_hooks: Iterable[SessionRunHook] | None = None
    """Hooks that run in evaluation."""
    prediction_hooks: Iterable[SessionRunHook] | None = None
    """Hooks that run in prediction."""

    def __post_init__(self) -> None:
        if self.scaffold_fn is not None:
            raise ValueError(
                "`scaffold_fn` has no counterpart: weights are initialised by the factories given to te.get_module, "
                "and TPUEstimator(warm_start_from=...) loads others. Remove the argument. "
                f"Received: {self.scaffold_fn!r}."
            )
        if self.eval_metrics is not None:
            check_host_call("eval_metrics", self.eval_metrics)
        if self.host_call is not None:
            check_host_call("host_call", self.host_call)

    def _replace(self, **changes: Any) -> "TPUEstimatorSpec":
        """A copy with other values, as the original's namedtuple method."""
        return dataclasses.replace(self, **changes)

    def as_estimator_spec(self, host_call_every_n_steps: int = 1) -> EstimatorSpec:
        """The same as a `te.EstimatorSpec`; called inside model_fn, which TPUEstimator does by itself.

        Args:
            host_call_every_n_steps: steps between two calls of `host_call`.

        Raises:
            ValueError: a part that the mode needs is missing.
            TypeError: a part is of the wrong type.
        """
        training_hooks, evaluation_hooks = list(self.training_hooks or ()), list(self.evaluation_hooks or ())
        if self.host_call is not None and self.mode != ModeKeys.PREDICT:
            is_training = self.mode == ModeKeys.TRAIN
            hook = HostCallHook(self.host_call, host_call_every_n_steps, is_training)
            (training_hooks if is_training else evaluation_hooks).append(hook)
        metrics = None
        if self.eval_metrics is not None and self.mode == ModeKeys.EVAL:
            metrics = call_with(*self.eval_metrics)
        return EstimatorSpec(
            self.mode,
            predictions=self.predictions,
            loss=self.loss,
            train_op=self.train_op,
            eval_metric_ops=metrics,
            export_outputs=self.export_outputs,
            training_hooks=training_hooks,
            evaluation_hooks=evaluation_hooks,
            prediction_hooks=self.prediction_hooks,
        )
