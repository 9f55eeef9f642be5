"""add_metrics: an Estimator with further metrics."""

from collections.abc import Callable, Mapping
from typing import Any

from torchestimator.estimator.estimator import Estimator
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.arguments import named_arguments
from torchestimator.spec import EstimatorSpec

_OFFERED = ("features", "labels", "predictions", "config")


def add_metrics(estimator: Estimator, metric_fn: Callable[..., Mapping[str, Any]]) -> Estimator:
    """An Estimator of the same model, in the same model_dir, that also evaluates further metrics.

        def mean_error(labels, predictions):
            return {"mean_error": te.metrics.mean((labels - predictions["predictions"]).abs())}

        estimator = te.add_metrics(te.LinearRegressor(columns), mean_error)

    Args:
        estimator: the model.
        metric_fn: function of any of `features`, `labels`, `predictions` and `config`, found by name, that returns
            metrics by name. Those of the model with the same name are replaced.

    Raises:
        TypeError: an argument is of the wrong type; in evaluate, what `metric_fn` returns is.
        ValueError: `metric_fn` has other arguments.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(f"`estimator` must be a te.Estimator. Received: {estimator!r}.")
    taken = named_arguments(metric_fn, "metric_fn")
    unknown = sorted(set(taken) - set(_OFFERED))
    if unknown:
        raise ValueError(f"`metric_fn` may take {', '.join(_OFFERED)}. Received: a function of {list(taken)}.")
    model_fn = estimator.model_fn

    def with_metrics(features: Any, labels: Any, mode: str, config: Any) -> EstimatorSpec:
        spec = model_fn(features, labels, mode, config)
        if mode != ModeKeys.EVAL:
            return spec
        offered = {"features": features, "labels": labels, "predictions": spec.predictions, "config": config}
        added = metric_fn(**{name: offered[name] for name in taken})
        if not isinstance(added, Mapping):
            raise TypeError(
                f'`metric_fn` must return a dict of metrics, such as {{"error": metric}}. Received: {added!r}.'
            )
        return spec._replace(eval_metric_ops={**(spec.eval_metric_ops or {}), **added})

    return Estimator(with_metrics, estimator.model_dir, estimator.config, warm_start_from=estimator.warm_start_from)
