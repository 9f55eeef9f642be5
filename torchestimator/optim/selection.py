"""What a ready-made estimator's `optimizer` argument means."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torchestimator.optim.adagrad import Adagrad
from torchestimator.optim.adam import Adam
from torchestimator.optim.ftrl import Ftrl
from torchestimator.optim.optimizer import SlotOptimizer
from torchestimator.optim.rmsprop import RMSProp
from torchestimator.optim.sgd import SGD
from torchestimator.train_op.description import OptimizerFn

_BY_NAME: dict[str, type[SlotOptimizer]] = {
    "Adagrad": Adagrad,
    "Adam": Adam,
    "Ftrl": Ftrl,
    "RMSProp": RMSProp,
    "SGD": SGD,
}


def get(
    optimizer: str | Callable[..., Any], learning_rate: float | None = None, clipnorm: float | None = None
) -> OptimizerFn:
    """The function from parameters to an optimizer that an `optimizer` argument stands for.

    The counterpart of tf.estimator's get_optimizer_instance_v2; what it returns goes into
    `te.minimize`.

    Args:
        optimizer: one of
            - a name: 'Adagrad', 'Adam', 'Ftrl', 'RMSProp' or 'SGD', one of `te.optim`;
            - a function from parameters to any torch optimizer, such as
              `lambda params: te.optim.Ftrl(params, learning_rate=0.1)`, or an optimizer's class;
            - a function without arguments that returns one of these, called once per training.
        learning_rate: for a name; None: the optimizer's own default.
        clipnorm: for a name: largest L2 norm of each parameter's gradient. None: no clipping.

    Raises:
        ValueError: there is no optimizer of that name.
        TypeError: it is an optimizer already, or neither a name nor a function.
    """
    if isinstance(optimizer, str):
        return _by_name(optimizer, learning_rate, clipnorm)
    if isinstance(optimizer, torch.optim.Optimizer):
        name = _shown(type(optimizer))
        raise TypeError(
            "`optimizer` must make the optimizer, not be one: the parameters it is to update exist only once the model "
            f"is built. Received: an instance of {name}. "
            f"Write: optimizer=lambda params: {name}(params, {_learning_rate_of(optimizer)})"
        )
    if not callable(optimizer):
        raise TypeError(
            f"`optimizer` must be one of the names {list(_BY_NAME)} or a function from parameters to an optimizer. "
            f"Received: {optimizer!r}. Write: optimizer=lambda params: te.optim.Ftrl(params, learning_rate=0.1)"
        )
    if _takes_parameters(optimizer):
        return optimizer

    def make(params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return get(_called(optimizer), learning_rate, clipnorm)(params)

    return make


def _by_name(name: str, learning_rate: float | None, clipnorm: float | None) -> OptimizerFn:
    chosen = _BY_NAME.get(name)
    if chosen is None:
        similar = next((known for known in _BY_NAME if known.lower() == name.lower()), None)
        advice = (
            f"Write: optimizer={similar!r}"
            if similar
            else "For another one, pass a function: optimizer=lambda params: torch.optim.AdamW(params, lr=1e-3)"
        )
        raise ValueError(f"`optimizer` must be one of the names {list(_BY_NAME)}. Received: {name!r}. {advice}")
    options: dict[str, Any] = {"clipnorm": clipnorm}
    if learning_rate is not None:
        options["learning_rate"] = learning_rate
    return lambda params: chosen(params, **options)


def _takes_parameters(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with one argument by position."""
    try:
        inspect.signature(function).bind(())
    except TypeError:
        return False
    return True


def _called(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except TypeError as error:
        error.add_note(
            "`optimizer` was called without arguments, because it takes none. An optimizer needs the model's "
            "parameters: optimizer=lambda params: te.optim.Ftrl(params, learning_rate=0.1)"
        )
        raise


def _shown(kind: type) -> str:
    return f"te.optim.{kind.__name__}" if issubclass(kind, SlotOptimizer) else f"torch.optim.{kind.__name__}"


def _learning_rate_of(optimizer: torch.optim.Optimizer) -> str:
    name = "learning_rate" if isinstance(optimizer, SlotOptimizer) else "lr"
    return f"{name}={optimizer.param_groups[0].get('lr', 0.1)!r}"
