"""Nested structures of tensors: the one place that knows torch's pytree module.

torch has no public pytree module in the versions this package supports, so what is needed of it
is imported here and nowhere else.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor
from torch.utils import _pytree

T = TypeVar("T")


def register_node(
    cls: type[T],
    flatten: Callable[[T], tuple[list[Any], Any]],
    unflatten: Callable[[Iterable[Any], Any], T],
) -> None:
    """Makes instances of `cls` transparent to torch.compile, FSDP and the functions below."""
    _pytree.register_pytree_node(cls, flatten, unflatten, serialized_type_name=f"{cls.__module__}.{cls.__qualname__}")


def map_tensors(function: Callable[[Tensor], Any], structure: Any) -> Any:
    """Applies `function` to each tensor of a nested structure; other leaves stay as they are."""
    if isinstance(structure, Tensor):
        return function(structure)
    if type(structure) is dict:
        return {key: map_tensors(function, value) for key, value in structure.items()}
    if type(structure) is tuple:
        return tuple(map_tensors(function, value) for value in structure)
    if structure is None:
        return None
    return _pytree.tree_map_only(Tensor, function, structure)


def tensors_of(structure: Any) -> list[Tensor]:
    """All tensors of a nested structure, in a fixed order."""
    return [leaf for leaf in _pytree.tree_leaves(structure) if isinstance(leaf, Tensor)]
