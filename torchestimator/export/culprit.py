"""Finds the line of model_fn that an exporter stumbles over, by running it once more under observation."""

import linecache
import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from torchestimator.user_line import user_line_of

UNKNOWN = "model_fn"

_TORCH = os.path.dirname(torch.__file__)

_PLACE = re.compile(r"(?P<file>[^\s()]+\.py):(?P<line>\d+)")


def line_of_operator(operator: str, run: Callable[[], object]) -> str:
    """The line that calls an operator.

    Args:
        operator: its name without the overload, such as "aten.lgamma" or "prims.lgamma".
        run: runs model_fn with real tensors.
    """
    watch = _OperatorWatch(operator.split(".")[1] if "." in operator else operator)
    with watch, torch.no_grad():
        run()
    return user_line_of(watch.trace, UNKNOWN)


def line_of_fixed_size(
    run: Callable[[Mapping[str, Tensor]], object],
    tensors: Mapping[str, Tensor],
    free_axes: Mapping[str, Sequence[int]],
) -> str:
    """The line that turns a free size into a constant.

    Args:
        run: runs model_fn with tensors by name.
        tensors: examples by name.
        free_axes: the dimensions of any size, by name.
    """
    # Where torch works otherwise in some version, the line stays unknown; the error itself is told all the same.
    try:
        guards, trace = _size_guards(run, tensors, free_axes)
    except Exception:  # noqa: BLE001
        return UNKNOWN
    for location in guards:
        found = _PLACE.search(location)
        if found and not os.path.exists(os.path.join(_TORCH, found["file"])):
            return _shown(found["file"], int(found["line"]))
    return user_line_of(trace, UNKNOWN)


class _OperatorWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers where the first call of an operator comes from."""

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = name
        self.trace = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.trace and str(func).split(".")[1].lstrip("_") == self._name.lstrip("_"):
            self.trace = "".join(traceback.format_stack())
        return func(*args, **(kwargs or {}))


class _GuardWatch(TorchFunctionMode):
    """Remembers the first call after which a condition holds."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        super().__init__()
        self._holds = holds
        self.trace = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.trace and self._holds():
            self.trace = "".join(traceback.format_stack())
        return result


def _size_guards(
    run: Callable[[Mapping[str, Tensor]], object],
    tensors: Mapping[str, Tensor],
    free_axes: Mapping[str, Sequence[int]],
) -> tuple[list[str], str]:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    sizes = ShapeEnv()
    fake = FakeTensorMode(shape_env=sizes, allow_non_fake_inputs=True)
    stand_ins = {}
    for name, tensor in tensors.items():
        axes = [
            DimDynamic.DYNAMIC if axis in free_axes.get(name, ()) else DimDynamic.STATIC for axis in range(tensor.dim())
        ]
        stand_ins[name] = fake.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(axes))
    watch = _GuardWatch(lambda: bool(sizes.guards))
    with fake, torch.no_grad(), watch:
        run(stand_ins)
    return [str(guard.sloc) for guard in sizes.guards], watch.trace


def _shown(tail: str, line: int) -> str:
    """A line by the end of its file's path, which is all that torch keeps of it."""
    name = tail.rpartition("/")[2]
    text = next((linecache.getline(file, line).strip() for file in list(linecache.cache) if file.endswith(tail)), "")
    return f"{name}, line {line}" + (f", `{text}`" if text else "")
