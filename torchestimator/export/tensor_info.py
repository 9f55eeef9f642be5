"""TensorInfo: name, dtype and shape of an input or output of an export."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

STRING = "DT_STRING"
"""The dtype of strings. Torch has none: there, a string is its int64 fingerprint (`inputs/fingerprint.py`)."""


@dataclass(frozen=True)
class DataType:
    """One dtype under the names that it has in the formats and protocols of serving."""

    name: str
    """In signatures, TensorFlow's spelling: DT_FLOAT."""
    torch: torch.dtype
    """In torch; for strings that of the fingerprints."""
    numpy: np.dtype[Any]
    """In NumPy; for strings that of objects."""
    open_inference: str
    """In the Open Inference Protocol v2: FP32."""
    onnx: str
    """In ONNX Runtime: tensor(float)."""

    @property
    def is_floating_point(self) -> bool:
        """Whether its values are real numbers."""
        return self.torch.is_floating_point

    @property
    def triton(self) -> str:
        """In Triton's config.pbtxt: TYPE_FP32."""
        return "TYPE_STRING" if self.name == STRING else f"TYPE_{self.open_inference}"


DATA_TYPES: Mapping[str, DataType] = {
    each.name: each
    for each in (
        DataType("DT_FLOAT", torch.float32, np.dtype("float32"), "FP32", "tensor(float)"),
        DataType("DT_DOUBLE", torch.float64, np.dtype("float64"), "FP64", "tensor(double)"),
        DataType("DT_HALF", torch.float16, np.dtype("float16"), "FP16", "tensor(float16)"),
        DataType("DT_INT64", torch.int64, np.dtype("int64"), "INT64", "tensor(int64)"),
        DataType("DT_INT32", torch.int32, np.dtype("int32"), "INT32", "tensor(int32)"),
        DataType("DT_INT16", torch.int16, np.dtype("int16"), "INT16", "tensor(int16)"),
        DataType("DT_INT8", torch.int8, np.dtype("int8"), "INT8", "tensor(int8)"),
        DataType("DT_UINT8", torch.uint8, np.dtype("uint8"), "UINT8", "tensor(uint8)"),
        DataType("DT_BOOL", torch.bool, np.dtype("bool"), "BOOL", "tensor(bool)"),
        DataType(STRING, torch.int64, np.dtype("object"), "BYTES", "tensor(string)"),
    )
}
"""All dtypes that an export may have, by name."""

_BY_TORCH = {each.torch: each for each in DATA_TYPES.values() if each.name != STRING}


def data_type(dtype: torch.dtype, of: str) -> DataType:
    """The entry of a torch dtype.

    Args:
        dtype: of a tensor.
        of: what has it, for the error: "the output 'scores'".

    Raises:
        ValueError: serving systems do not know this dtype.
    """
    try:
        return _BY_TORCH[dtype]
    except KeyError:
        known = ", ".join(str(each).removeprefix("torch.") for each in _BY_TORCH)
        raise ValueError(
            f"Exports can have tensors of {known}. Received: {of} of {str(dtype).removeprefix('torch.')}. "
            "Convert it: tensor.float()"
        ) from None


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a signature (TensorInfo of TensorFlow's SignatureDef)."""

    name: str
    """Its name in TorchScript and torch.export files: a Python identifier. ONNX files use the key of the signature."""
    dtype: str
    """A key of `DATA_TYPES`."""
    shape: tuple[int, ...]
    """Sizes; -1 where any size is allowed."""
    dim_names: tuple[str | None, ...] = ()
    """For each dimension its name where its size is free, else None: two of one name have the same size."""
    vocabulary: str | None = None
    """For string outputs: the file, relative to the export, with the JSON list of strings whose indices torch gives."""
    passthrough: str | None = None
    """The key of the input that is handed on as this output."""

    @property
    def type(self) -> DataType:
        """The dtype under all its names."""
        return DATA_TYPES[self.dtype]

    @property
    def is_string(self) -> bool:
        """Whether it holds strings."""
        return self.dtype == STRING

    def to_json(self) -> dict[str, Any]:
        """As JSON values; what does not apply is left out."""
        document: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        if self.dim_names:
            document["dim_names"] = list(self.dim_names)
        for key in ("vocabulary", "passthrough"):
            if getattr(self, key) is not None:
                document[key] = getattr(self, key)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads what `to_json` gave.

        Raises:
            KeyError: a part is missing, or the dtype is unknown.
        """
        DATA_TYPES[document["dtype"]]
        return cls(
            name=document["name"],
            dtype=document["dtype"],
            shape=tuple(document["shape"]),
            dim_names=tuple(document.get("dim_names", ())),
            vocabulary=document.get("vocabulary"),
            passthrough=document.get("passthrough"),
        )
