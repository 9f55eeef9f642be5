"""TorchScript: all signatures of a model as the methods of one traced module."""

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from torchestimator.export.conversion_error import ExportError, explained
from torchestimator.export.serving_inputs import ServingInputs
from torchestimator.export.serving_module import ServingModule
from torchestimator.user_line import user_line

FORMAT = "torchscript"

_SOURCE = ".debug_pkl"
"""How the names of those entries of a TorchScript file end that hold paths and lines of source."""


def trace_methods(
    module: ServingModule, inputs: ServingInputs, methods: Sequence[str], batches: Sequence[Mapping[str, Tensor]]
) -> torch.jit.ScriptModule:
    """Traces methods of a module; their outputs stay dicts.

    Args:
        module: made by `serving_module`.
        inputs: what clients send.
        methods: names of its methods.
        batches: tensors by key: the first is traced, and the trace is tried with the others.

    Raises:
        ExportError: the trace depends on the values or sizes of the first batch.
    """
    examples = [inputs.arguments(batch) for batch in batches]
    first, *others = [dict.fromkeys(methods, example) for example in examples]
    return _traced(
        lambda: torch.jit.trace_module(module, first, check_inputs=others, strict=False, example_inputs_is_kwarg=True)  # type: ignore[no-untyped-call]
    )


class _AsTuple(nn.Module):
    """Gives the outputs of a signature in a fixed order instead of by name."""

    def __init__(self, module: ServingModule, order: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self._order = tuple(order)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(*tensors)
        return tuple(outputs[name] for name in self._order)


def trace_tuple(
    module: ServingModule, order: Sequence[str], batches: Sequence[Mapping[str, Tensor]]
) -> torch.jit.ScriptModule:
    """Traces a module's `forward` with a tuple as its result, which is what Triton takes.

    Args:
        module: made by `serving_module`.
        order: identifiers of the outputs in the order of the tuple.
        batches: as for `trace_methods`, in the order of the inputs.

    Raises:
        ExportError: as for `trace_methods`.
    """
    first, *others = [tuple(batch.values()) for batch in batches]
    wrapped = _AsTuple(module, order).eval()
    return _traced(lambda: torch.jit.trace(wrapped, first, check_inputs=others))  # type: ignore[no-untyped-call]


def save_script(script: torch.jit.ScriptModule, path: str, signatures: Mapping[str, Any]) -> None:
    """Writes a traced module, with its signatures as `signatures.json` inside the file, and without lines of source."""
    with warnings.catch_warnings():
        _without_deprecation()
        torch.jit.save(script, path, _extra_files={"signatures.json": json.dumps(signatures)})
    _leave_out_source(path)


def _traced(trace: Callable[[], Any]) -> torch.jit.ScriptModule:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            _without_deprecation()
            # What the tracer only warns of is a model that is wrong for other values.
            warnings.simplefilter("error", TracerWarning)
            # torch's own layers (nn.LSTM, nn.MultiheadAttention) look at sizes, to check them; that other sizes work
            # as well is tried below, and again with the written file.
            warnings.filterwarnings("ignore", category=TracerWarning, module=r"torch\.nn\.")
            # Constants, such as boundaries of buckets, are meant as constants; other values warn when they are read.
            warnings.filterwarnings("ignore", r"torch\.\w+ results are registered as constants", TracerWarning)
            traced: torch.jit.ScriptModule = trace()
    except Exception as error:
        if isinstance(error, TracerWarning) or isinstance(error.__cause__, TracerWarning):
            raise ExportError(
                f"The TorchScript trace failed at {user_line(error)}: it reads the value of a tensor, which the trace "
                "would keep as a constant. Keep it a tensor: x.sum() instead of x.sum().item(), "
                "torch.where(condition, a, b) instead of `if`. Or leave TorchScript out: "
                'formats=("onnx", "torch_export").'
            ) from error
        raise explained(error, "The TorchScript trace") from error
    return traced


def _leave_out_source(path: str) -> None:
    """Rewrites a file without the source paths that TorchScript keeps for its error messages."""
    complete = f"{path}.complete"
    os.rename(path, complete)
    with zipfile.ZipFile(complete) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(_SOURCE):
                copied = zipfile.ZipInfo(entry.filename)
                copied.file_size = entry.file_size  # by which zipfile knows whether the entry needs 64-bit sizes
                with old.open(entry) as source, new.open(copied, "w") as target:
                    shutil.copyfileobj(source, target)
    os.remove(complete)


def _without_deprecation() -> None:
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
