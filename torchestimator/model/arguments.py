"""Which arguments a model_fn takes, found by name."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

MODEL_FN_ARGUMENTS = ("features", "labels", "mode", "params", "config", "model_dir")
"""Everything that can be passed to a model_fn."""


def function_name(function: Callable[..., Any]) -> str:
    """A readable name for error messages, for partials and callable objects too."""
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__qualname__", None) or type(inner).__name__


def named_arguments(function: Callable[..., Any], argument: str) -> dict[str, inspect.Parameter]:
    """The parameters of a function that can be given by name and are not bound yet.

    Works for plain functions, methods, functools.partial and objects with `__call__`. Parameters
    with defaults are included; `**kwargs` is not.

    Args:
        function: the function.
        argument: what the user calls it, for the error message.

    Raises:
        TypeError: not a function, or it has positional-only parameters.
    """
    if not callable(function):
        raise TypeError(f"`{argument}` must be a function. Received: {function!r}.")
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:
        raise TypeError(f"`{argument}` has no signature that can be read. Received: {function!r}.") from error
    named: dict[str, inspect.Parameter] = {}
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"`{argument}` ({function_name(function)}) has the positional-only parameter {name!r}; "
                "arguments are passed by name. Remove the `/` from its definition."
            )
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            if name in bound:
                continue
            named[name] = parameter
    return named


def check_model_fn(model_fn: Callable[..., Any], params: Mapping[str, Any] | None) -> frozenset[str]:
    """The names of the arguments that a model_fn takes, checked.

    Raises:
        ValueError: no model_fn, no `features` argument, an argument that nothing can be passed
            for, or `params` given to a model_fn that does not take them.
        TypeError: not a function, or `params` is not a dict.
    """
    if model_fn is None:
        raise ValueError(
            "`model_fn` is missing. Pass a function (features, labels, mode, params, config) -> te.EstimatorSpec."
        )
    if params is not None and not isinstance(params, Mapping):
        raise TypeError(
            f'`params` must be a dict of hyperparameters. Received: {params!r}. Write: params={{"lr": 1e-3}}'
        )
    if isinstance(model_fn, type | nn.Module):
        _refuse_model(model_fn)
    parameters = named_arguments(model_fn, "model_fn")
    name = function_name(model_fn)
    if "features" not in parameters:
        raise ValueError(
            f"`model_fn` ({name}) must take an argument named `features`. Received arguments: {list(parameters)}. "
            "Arguments are passed by name: def model_fn(features, labels, mode, params)"
        )
    odd = [
        argument
        for argument, parameter in parameters.items()
        if argument not in MODEL_FN_ARGUMENTS and parameter.default is inspect.Parameter.empty
    ]
    if odd:
        raise ValueError(
            f"`model_fn` ({name}) takes arguments that nothing is passed for: {odd}. "
            f"Allowed: {list(MODEL_FN_ARGUMENTS)}. Put other values into `params`, or bind them with functools.partial."
        )
    if params is not None and "params" not in parameters:
        raise ValueError(
            f"`params` is given, but `model_fn` ({name}) takes no argument named `params`. Received: "
            f"params={dict(params)!r}. Write: def model_fn(features, labels, mode, params)"
        )
    return frozenset(parameters) & frozenset(MODEL_FN_ARGUMENTS)


def _refuse_model(model: type | nn.Module) -> None:
    if isinstance(model, type):
        raise TypeError(
            "`model_fn` must be a function; calling a class only makes an object. Received: the class "
            f"{model.__name__}. An object whose `__call__` takes model_fn's arguments is fine: {model.__name__}()"
        )
    kind = type(model).__name__
    raise TypeError(
        f"`model_fn` must be a function that returns a te.EstimatorSpec. Received: a module, {kind}. Ask for it in a "
        f'model_fn: def model_fn(features, labels, mode): net = te.get_module("net", lambda: {kind}(...)); ...'
    )
