"""The description of an export: `signatures.json`."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from torchestimator.export.tensor_info import TensorInfo

FILE_NAME = "signatures.json"
FORMAT_VERSION = 1

SERVE = "serve"
"""The tag of signatures for serving; "train" and "eval" are those of the other modes."""

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True)
class Signature:
    """What one function of the export takes and gives (SignatureDef)."""

    method_name: str
    """What kind of function it is, in TensorFlow Serving's spelling."""
    inputs: dict[str, TensorInfo]
    """What a client sends, by key."""
    outputs: dict[str, TensorInfo]
    """What it gets, by key."""
    artifacts: dict[str, str]
    """Files relative to the export, by format ("onnx", "torch_export", "torchscript"); "#method" names a method."""
    example_spec: dict[str, dict[str, Any]] | None = None
    """Where clients send serialised tf.Examples: how the host decodes each feature, as its `to_json()` gives."""
    features: dict[str, TensorInfo] | None = None
    """With `example_spec`, the decoded features, which are the inputs of the files."""

    @property
    def graph_inputs(self) -> dict[str, TensorInfo]:
        """What the files take, by key."""
        return self.inputs if self.features is None else self.features

    @property
    def is_batched(self) -> bool:
        """Whether all that files take and give begins with a batch of any size, so that calls can be merged."""
        infos = [*self.graph_inputs.values(), *self.outputs.values()]
        names = {info.dim_names[0] for info in infos if info.dim_names}
        return bool(self.graph_inputs) and all(info.shape[:1] == (-1,) for info in infos) and len(names) <= 1

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        document: dict[str, Any] = {
            "method_name": self.method_name,
            "inputs": _infos_to_json(self.inputs),
            "outputs": _infos_to_json(self.outputs),
            "artifacts": dict(self.artifacts),
        }
        if self.features is not None:
            document |= {"example_spec": self.example_spec, "features": _infos_to_json(self.features)}
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads what `to_json` gave.

        Raises:
            KeyError: a part is missing.
        """
        features = document.get("features")
        return cls(
            method_name=document["method_name"],
            inputs=_infos_from_json(document["inputs"]),
            outputs=_infos_from_json(document["outputs"]),
            artifacts=dict(document["artifacts"]),
            example_spec=document.get("example_spec"),
            features=None if features is None else _infos_from_json(features),
        )


@dataclass(frozen=True)
class MetaGraph:
    """The signatures of one mode (MetaGraphDef)."""

    tags: tuple[str, ...]
    """("serve",), ("eval",) or ("train",)."""
    signature_def: dict[str, Signature]
    """By name."""


@dataclass(frozen=True)
class ExportInfo:
    """All that `signatures.json` says."""

    meta_graphs: tuple[MetaGraph, ...]
    """By mode."""
    global_step: int
    """Of the exported weights."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the libraries that wrote it; "opset" and "ir_version" are those of its ONNX files."""
    verified: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By artifact: the batch sizes it was run with, its largest difference from eager, and what ran it."""

    @property
    def serving(self) -> dict[str, Signature]:
        """The signatures for serving, by name; empty where only other modes were exported."""
        return next((graph.signature_def for graph in self.meta_graphs if graph.tags == (SERVE,)), {})

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "global_step": self.global_step,
            "meta_graphs": [
                {
                    "tags": list(graph.tags),
                    "signature_def": {name: each.to_json() for name, each in graph.signature_def.items()},
                }
                for graph in self.meta_graphs
            ],
            "versions": self.versions,
            "verified": self.verified,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads what `to_json` gave.

        Raises:
            KeyError: a part is missing.
        """
        graphs = tuple(
            MetaGraph(
                tuple(graph["tags"]),
                {name: Signature.from_json(each) for name, each in graph["signature_def"].items()},
            )
            for graph in document["meta_graphs"]
        )
        return cls(graphs, document["global_step"], dict(document["versions"]), dict(document["verified"]))


def read_export_info(export_dir: str | os.PathLike[str]) -> ExportInfo:
    """Reads the description of an export.

    Args:
        export_dir: the folder of one export, with the timestamp as its name.

    Raises:
        FileNotFoundError: there is no export in that folder.
        ValueError: its description is damaged, or of a later version of this package.
    """
    folder = os.fspath(export_dir)
    path = os.path.join(folder, FILE_NAME)
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(_no_export(folder)) from None
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON: {error}. Export the model again.") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version!r}; this version of torchestimator reads {FORMAT_VERSION}. "
            "Update torchestimator, or export the model again."
        )
    try:
        return ExportInfo.from_json(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is incomplete: {error!r}. Export the model again.") from error


def versions_in(base_dir: str | os.PathLike[str]) -> list[int]:
    """The exports in a base folder, oldest first: its subfolders with a number as their name."""
    base = os.fspath(base_dir)
    if not os.path.isdir(base):
        return []
    return sorted(
        int(name)
        for name in os.listdir(base)
        if name.isdecimal() and os.path.isfile(os.path.join(base, name, FILE_NAME))
    )


def _no_export(folder: str) -> str:
    if not os.path.isdir(folder):
        return f"There is no folder {folder}."
    versions = versions_in(folder)
    if versions:
        return (
            f"{folder} is the base folder of {len(versions)} exports, not an export. "
            f"The newest is {os.path.join(folder, str(versions[-1]))}."
        )
    return f"There is no export in {folder}: it has no {FILE_NAME}, which Estimator.export_saved_model writes."


def _infos_to_json(infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    return {key: info.to_json() for key, info in infos.items()}


def _infos_from_json(document: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {key: TensorInfo.from_json(info) for key, info in document.items()}
