"""Which parameters a `minimize` updates."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from torchestimator.train_op.description import VarList


def select_parameters(module: nn.Module, var_list: VarList | None) -> dict[str, nn.Parameter]:
    """The trainable parameters of `module` that `var_list` means, by name and in the module's order.

    Raises:
        ValueError: nothing is selected, or a parameter is not part of the module.
        TypeError: `var_list` is of a kind that has no meaning.
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError(
            "The model has no trainable parameter. Ask for layers with te.get_module(name, factory) in model_fn."
        )
    if var_list is None:
        return trainable
    if isinstance(var_list, nn.Module):
        return _of_parameters(trainable, var_list.parameters())
    items: list[Any] = [var_list] if isinstance(var_list, str) else list(var_list)
    if items and all(isinstance(item, str) for item in items):
        return _matching(trainable, items)
    return _of_parameters(trainable, items)


def _matching(trainable: dict[str, nn.Parameter], patterns: list[str]) -> dict[str, nn.Parameter]:
    expressions = [re.compile(pattern) for pattern in patterns]
    chosen = {name: p for name, p in trainable.items() if any(e.match(name) for e in expressions)}
    if not chosen:
        raise ValueError(
            f"`var_list` matches no trainable parameter. Received: {patterns}. Names: {sorted(trainable)[:20]}."
        )
    return chosen


def _of_parameters(trainable: dict[str, nn.Parameter], parameters: Iterable[Any]) -> dict[str, nn.Parameter]:
    wanted: set[int] = set()
    known = {id(p): name for name, p in trainable.items()}
    for parameter in parameters:
        if not isinstance(parameter, nn.Parameter):
            raise TypeError(
                "`var_list` must be a module, parameters, or regular expressions on parameter names. "
                f"Received: {parameter!r}."
            )
        if parameter.requires_grad and id(parameter) not in known:
            raise ValueError(
                f"`var_list` holds a parameter of shape {list(parameter.shape)} that is not part of the model. "
                "Ask for its module with te.get_module."
            )
        wanted.add(id(parameter))
    chosen = {name: p for name, p in trainable.items() if id(p) in wanted}
    if not chosen:
        raise ValueError("`var_list` holds no trainable parameter.")
    return chosen
