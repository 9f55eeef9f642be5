"""model_to_estimator: an Estimator of a plain nn.Module."""

import copy
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from torchestimator.config import RunConfig
from torchestimator.estimator.estimator import Estimator
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.frame import get_module
from torchestimator.spec import EstimatorSpec
from torchestimator.train_op.description import OptimizerFn, SchedulerFn, minimize

MODULE_NAME = "model"
"""What the module is called in checkpoints: `model.<its own parameter names>`."""

LOSS_NAME = "loss"
"""Likewise for a loss that is a module."""


def model_to_estimator(
    module: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    optimizer_fn: OptimizerFn,
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
    *,
    model_dir: str | os.PathLike[str] | None = None,
    config: RunConfig | None = None,
    scheduler_fn: SchedulerFn | None = None,
    clip_norm: float | None = None,
    accumulate_steps: int = 1,
) -> Estimator:
    """Makes an Estimator of a finished module; training starts from the weights it has now.

        estimator = te.model_to_estimator(
            net, torch.nn.CrossEntropyLoss(), lambda params: torch.optim.Adam(params),
            metrics={"accuracy": lambda labels, logits: te.metrics.accuracy(labels, logits.argmax(-1))})

    What tf.keras.estimator.model_to_estimator was for Keras models. The module itself stays as it is:
    the Estimator works on copies.

    How features reach the module: a tensor is its argument; a dict is passed by name where its keys
    are names of `forward`'s arguments, and as one argument otherwise (a dict with a single entry: that
    entry). What the module returns becomes the predictions: a tensor as "output", the tensors of a dict
    under their keys, those of a tuple as "output_0", "output_1", ...

    Args:
        module: any nn.Module.
        loss_fn: of (what the module returns, labels), as torch's loss modules. Weights and buffers of a
            loss module are part of the model, as `loss.<name>`.
        optimizer_fn: of the parameters; see `te.minimize`.
        metrics: functions of (labels, what the module returns) by name, each giving a metric.
        model_dir: folder of checkpoints and summaries.
        config: a `te.RunConfig`.
        scheduler_fn: see `te.minimize`.
        clip_norm: see `te.minimize`.
        accumulate_steps: see `te.minimize`.

    Raises:
        TypeError: `module` is not an nn.Module or `loss_fn` not a function.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module. Received: {module!r}.")
    if not callable(loss_fn):
        raise TypeError(f"`loss_fn` must be a function of (outputs, labels). Received: {loss_fn!r}.")
    initial = copy.deepcopy(module)
    initial_loss = copy.deepcopy(loss_fn) if isinstance(loss_fn, nn.Module) else None
    takes = _argument_names(module)

    def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
        net = get_module(MODULE_NAME, lambda: initial)
        outputs = _call(net, takes, features)
        predictions = _named(outputs)
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions=predictions)
        if initial_loss is None:
            loss = loss_fn(outputs, labels)
        else:
            loss = get_module(LOSS_NAME, lambda: initial_loss)(outputs, labels)
        if mode == ModeKeys.EVAL:
            values = {name: metric(labels, outputs) for name, metric in (metrics or {}).items()}
            return EstimatorSpec(mode, predictions=predictions, loss=loss, eval_metric_ops=values)
        train_op = minimize(loss, optimizer_fn, scheduler_fn, clip_norm, accumulate_steps=accumulate_steps)
        return EstimatorSpec(mode, predictions=predictions, loss=loss, train_op=train_op)

    return Estimator(model_fn, model_dir, config)


def _argument_names(module: nn.Module) -> frozenset[str] | None:
    """The names by which `forward` takes its arguments; None: any."""
    parameters = inspect.signature(module.forward).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(name for name, parameter in parameters.items() if parameter.kind in by_name)


def _call(net: nn.Module, takes: frozenset[str] | None, features: Any) -> Any:
    if not isinstance(features, Mapping):
        return net(features)
    if takes is None or takes.issuperset(features):
        return net(**features)
    if len(features) == 1:
        return net(next(iter(features.values())))
    return net(features)


def _named(outputs: Any) -> dict[str, Tensor]:
    if isinstance(outputs, Tensor):
        return {"output": outputs}
    if isinstance(outputs, Mapping):
        items = dict(outputs)
    elif isinstance(outputs, list | tuple):
        items = {f"output_{index}": output for index, output in enumerate(outputs)}
    else:
        raise TypeError(
            f"`module` must return a tensor, or a dict or tuple of tensors. Received: {type(outputs).__name__}."
        )
    # Models return more than results: None for parts that were not asked for, caches.
    return {name: output for name, output in items.items() if isinstance(output, Tensor)}
