"""Which parameters a `minimize` updates."""

import itertools
import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

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
    items: list[Any] = [var_list] if isinstance(var_list, (nn.Module, Tensor, str)) else list(var_list)
    if items and all(isinstance(item, str) for item in items):
        return _matching(trainable, items)
    return _of_parameters(trainable, items)


def _matching(trainable: dict[str, nn.Parameter], patterns: list[str]) -> dict[str, nn.Parameter]:
    chosen: set[str] = set()
    for pattern in patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"`var_list` holds no regular expression ({error}). Received: {pattern!r}.") from error
        matched = [name for name in trainable if expression.match(name)]
        if not matched:
            raise ValueError(
                f"`var_list` matches no trainable parameter. Received: {pattern!r}. Names: {sorted(trainable)[:20]}."
            )
        chosen.update(matched)
    return {name: parameter for name, parameter in trainable.items() if name in chosen}


def _of_parameters(trainable: dict[str, nn.Parameter], items: list[Any]) -> dict[str, nn.Parameter]:
    wanted: set[int] = set()
    known = {id(parameter) for parameter in trainable.values()}
    for parameter in itertools.chain.from_iterable(map(_parameters_of, items)):
        if parameter.requires_grad and id(parameter) not in known:
            raise ValueError(
                f"`var_list` holds a parameter of shape {list(parameter.shape)} that is not part of the model. "
                "Ask for its module with te.get_module."
            )
        wanted.add(id(parameter))
    chosen = {name: parameter for name, parameter in trainable.items() if id(parameter) in wanted}
    if not chosen:
        raise ValueError(f"`var_list` holds no trainable parameter. Received: {items!r:.200}.")
    return chosen


def _parameters_of(item: Any) -> Iterable[nn.Parameter]:
    if isinstance(item, nn.Module):
        return item.parameters()
    if isinstance(item, nn.Parameter):
        return (item,)
    raise TypeError(
        f"`var_list` must be a module, parameters, or regular expressions on parameter names. Received: {item!r:.200}."
    )
