"""The model repository of NVIDIA's Triton Inference Server that an export brings along.

Triton knows no signatures: each becomes a model of its own, `<model>` for `serving_default` and `<model>_<signature>`
for the others, with `_torchscript` behind it where the file is TorchScript. The layout and the fields of
`config.pbtxt` are those of Triton's model_configuration.md; what its backends demand of names, dtypes and dims
(`ValidateInputs` and `ValidateOutputs` in onnxruntime_backend and pytorch_backend) is kept, so that all of it loads.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Literal

from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE
from torchestimator.export.signature import Signature
from torchestimator.export.tensor_info import TensorInfo
from torchestimator.log import LOG

Backend = Literal["onnxruntime", "pytorch"]

MAX_BATCH_SIZE = 64
"""Rows that the server may put into one call where nothing else is asked for."""

_PLATFORMS: Mapping[Backend, str] = {"onnxruntime": "onnxruntime_onnx", "pytorch": "pytorch_libtorch"}
_FILES: Mapping[Backend, str] = {"onnxruntime": "model.onnx", "pytorch": "model.pt"}
_SUFFIXES: Mapping[Backend, str] = {"onnxruntime": "", "pytorch": "_torchscript"}


def triton_model_name(model_name: str, signature_name: str, *, backend: Backend = "onnxruntime") -> str:
    """What a signature is called in Triton: a folder's name, so other characters than `A-Za-z0-9_.-` become `_`.

    Args:
        model_name: of the exported model.
        signature_name: of one of its signatures.
        backend: what runs it there.
    """
    base = model_name if signature_name == DEFAULT_SERVING_SIGNATURE else f"{model_name}_{signature_name}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", base) + _SUFFIXES[backend]


def triton_config(
    model_name: str,
    signature_name: str,
    signature: Signature,
    *,
    backend: Backend,
    max_batch_size: int = MAX_BATCH_SIZE,
) -> str:
    """Writes the `config.pbtxt` of one signature.

    Inputs and outputs have the signature's keys for ONNX files. For TorchScript, inputs have the names of forward's
    arguments (`TensorInfo.name`), and outputs are `<name>__<position in the tuple>`, by which pytorch_backend tells
    them apart.

    Args:
        model_name: as `triton_model_name` gives it.
        signature_name: kept as a parameter of the model.
        signature: what the file takes and gives.
        backend: "onnxruntime", or "pytorch" for TorchScript.
        max_batch_size: rows that the server may put into one call; 0 leaves batching to the clients, who then send
            the first dimension as any other.

    Raises:
        ValueError: with `max_batch_size`, an input or output whose first dimension is no batch; a scalar, which
            Triton has no form for; or strings in TorchScript.
    """
    if max_batch_size < 0:
        raise ValueError(f"`max_batch_size` must be 0 (no batching) or more. Received: {max_batch_size}.")
    obstacle = _obstacle(signature, backend)
    if obstacle:
        raise ValueError(f"Triton can't serve the {backend} model of signature {signature_name!r}: {obstacle}.")
    if max_batch_size > 0 and not signature.is_batched:
        shapes = ", ".join(f"{key} {list(info.shape)}" for key, info in _infos(signature))
        raise ValueError(
            "Triton batches models whose inputs and outputs all have the same free batch dimension as their first. "
            f"Received: the signature {signature_name!r} with {shapes}. "
            "Leave batches to the clients: max_batch_size=0"
        )
    inputs, outputs = signature.graph_inputs, signature.outputs
    if backend == "pytorch":
        inputs = {info.name: info for info in inputs.values()}
        outputs = {_indexed(info.name, index): info for index, info in enumerate(outputs.values())}
    lines = [
        f"name: {_quoted(model_name)}",
        f"backend: {_quoted(backend)}",
        f"platform: {_quoted(_PLATFORMS[backend])}",
        f"max_batch_size: {max_batch_size}",
        *_tensors("input", inputs, batched=max_batch_size > 0),
        *_tensors("output", outputs, batched=max_batch_size > 0),
        # Without a delay: what waits while a call runs becomes the next batch, and a lone request never waits.
        *(["dynamic_batching { }"] if max_batch_size > 0 else []),
        *_parameters({"signature_name": signature_name, "method_name": signature.method_name}),
    ]
    return "\n".join(lines) + "\n"


def write_triton_repository(
    folder: str | os.PathLike[str],
    model_name: str,
    onnx_files: Mapping[str, str],
    torchscript_files: Mapping[str, str],
    signatures: Mapping[str, Signature],
    version: int,
    *,
    max_batch_size: int = MAX_BATCH_SIZE,
) -> None:
    """Writes a model repository that `tritonserver --model-repository` takes.

    Model files are hard links where the file system has them, since the export holds the same files already. The
    data files of models over 2 GB are copied: onnx refuses to load data that has several hard links.

    A model that Triton can't serve is left out, and a line in the log says why: TorchScript for signatures with
    strings, and signatures with scalars. One without a batch dimension is served without batching.

    Args:
        folder: of the repository; made where it does not exist. It may hold other models, and other versions.
        model_name: of the exported model.
        onnx_files: path of the ONNX file by signature name. Files beside it whose names continue its own
            (`model.onnx.data`) are its external data.
        torchscript_files: path of the TorchScript file by signature name; its forward has the signature's inputs as
            arguments and gives a tuple in the order of the signature's outputs.
        signatures: by name.
        version: a positive number, such as the timestamp of the export.
        max_batch_size: rows that the server may put into one call.

    Raises:
        ValueError: a version that Triton does not take, or two signatures of the same name there.
        FileExistsError: the repository has this version already.
    """
    if version < 1:
        raise ValueError(f"`version` must be a positive number. Received: {version}.")
    files: list[tuple[Backend, str, str]] = [
        *(("onnxruntime", name, path) for name, path in onnx_files.items()),
        *(("pytorch", name, path) for name, path in torchscript_files.items()),
    ]
    taken: dict[str, str] = {}
    for backend, signature_name, path in files:
        signature = signatures[signature_name]
        obstacle = _obstacle(signature, backend)
        if obstacle:
            LOG.info("Triton: the %s model of signature %r is left out: %s.", backend, signature_name, obstacle)
            continue
        name = triton_model_name(model_name, signature_name, backend=backend)
        if name in taken:
            raise ValueError(
                f"The signatures {taken[name]!r} and {signature_name!r} would both be the model {name!r} in Triton. "
                "Rename one of them in `export_outputs`."
            )
        taken[name] = signature_name
        batch = max_batch_size if signature.is_batched else 0
        config = triton_config(name, signature_name, signature, backend=backend, max_batch_size=batch)
        model_folder = os.path.join(folder, name)
        _place_model(path, os.path.join(model_folder, str(version)), _FILES[backend])
        with open(os.path.join(model_folder, "config.pbtxt"), "w", encoding="ascii") as file:
            file.write(config)


def _obstacle(signature: Signature, backend: Backend) -> str:
    """Why Triton can't serve a signature with a backend, naming the tensors; empty where it can."""
    infos = _infos(signature)
    scalars = [key for key, info in infos if not info.shape]
    if scalars:
        return f"it has no tensors without a dimension, as {', '.join(scalars)}; tensor.reshape(1) has one"
    strings = [key for key, info in infos if info.is_string]
    if strings and backend == "pytorch":
        return f"TorchScript has no strings, as {', '.join(strings)}; the ONNX model has them"
    return ""


def _infos(signature: Signature) -> list[tuple[str, TensorInfo]]:
    return [*signature.graph_inputs.items(), *signature.outputs.items()]


def _indexed(name: str, index: int) -> str:
    """The name of a tuple's element: pytorch_backend reads what follows the first "__" as its position."""
    return f"{re.sub('_{2,}', '_', name).rstrip('_')}__{index}"


def _tensors(kind: str, infos: Mapping[str, TensorInfo], *, batched: bool) -> Iterable[str]:
    for name, info in infos.items():
        dims = list(info.shape[1:] if batched else info.shape)
        # Triton takes no empty dims: clients send and get [batch, 1] where the model has [batch].
        shape = f"dims: {dims}" if dims else "dims: [1] reshape { shape: [] }"
        yield f"{kind} {{ name: {_quoted(name)} data_type: {info.type.triton} {shape} }}"


def _parameters(values: Mapping[str, str]) -> Iterable[str]:
    for key, value in values.items():
        yield f"parameters {{ key: {_quoted(key)} value: {{ string_value: {_quoted(value)} }} }}"


def _quoted(text: str) -> str:
    """A string of protobuf's text format: bytes other than printable ASCII as octal numbers."""
    escaped = "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{escaped}"'


def _place_model(source: str, version_folder: str, file_name: str) -> None:
    """Puts a model file where Triton looks for it: with external data, a folder of the file's name holds both."""
    folder, base = os.path.split(source)
    data = sorted(name for name in os.listdir(folder or ".") if name.startswith(f"{base}."))
    target = os.path.join(version_folder, file_name) if data else version_folder
    # A version that a server may be reading is never written over.
    os.makedirs(version_folder)
    os.makedirs(target, exist_ok=True)
    _link_or_copy(source, os.path.join(target, file_name))
    for name in data:
        shutil.copyfile(os.path.join(folder, name), os.path.join(target, name))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
