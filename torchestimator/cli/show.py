"""`torchestimator show`: what an export holds."""

import argparse
import datetime
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from torchestimator.export.signature import ExportInfo, MetaGraph, Signature, read_export_info, versions_in
from torchestimator.export.tensor_info import TensorInfo

_EXAMPLES = """\
examples:
  torchestimator show exports                         the versions in a base folder
  torchestimator show exports/1700000000              its signatures in short, files, checks and versions
  torchestimator show exports/1700000000 --all        every input and output, as saved_model_cli shows them
  torchestimator show exports --signature predict     one signature of the newest version
  torchestimator show exports/1700000000 --json       the same as JSON
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the subcommand to the command line."""
    parser = subparsers.add_parser(
        "show",
        help="show the signatures of an export",
        description="Shows what an export holds: signatures, files, what was verified, versions.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dir", metavar="DIR", help="an export, or a base folder of exports")
    parser.add_argument("--all", action="store_true", help="every input and output of every signature")
    parser.add_argument("--signature", metavar="NAME", help="every input and output of one signature")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Prints what the arguments ask for.

    Raises:
        FileNotFoundError: there is no export.
        ValueError: its description is damaged, or it has no such signature.
    """
    versions = versions_in(args.dir)
    if versions and not args.all and args.signature is None:
        infos = {version: read_export_info(os.path.join(args.dir, str(version))) for version in versions}
        if args.json:
            _print_json(_versions_json(args.dir, infos))
        else:
            _print_lines(_versions_text(args.dir, infos))
        return 0
    path = os.path.join(args.dir, str(versions[-1])) if versions else args.dir
    info = read_export_info(path)
    if args.signature is not None:
        info = _only(info, args.signature)
    if args.json:
        _print_json(info.to_json())
    elif args.signature is not None:
        _print_lines(line for graph in info.meta_graphs for line in _signatures_text(graph))
    elif args.all:
        _print_lines(_all_text(path, info))
    else:
        _print_lines(_summary_text(path, info))
    return 0


def _only(info: ExportInfo, name: str) -> ExportInfo:
    """The export with one signature, in whichever modes have it."""
    graphs = tuple(
        MetaGraph(graph.tags, {name: graph.signature_def[name]})
        for graph in info.meta_graphs
        if name in graph.signature_def
    )
    if not graphs:
        known = sorted({each for graph in info.meta_graphs for each in graph.signature_def})
        raise ValueError(f"The export has no signature {name!r}. It has: {', '.join(known) or 'none'}.")
    return ExportInfo(graphs, info.global_step, info.versions, info.verified)


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2))


def _print_lines(lines: Iterator[str]) -> None:
    for line in lines:
        print(line)


def _versions_json(base: str, infos: Mapping[int, ExportInfo]) -> dict[str, Any]:
    return {
        "versions": [
            {
                "version": version,
                "path": os.path.join(base, str(version)),
                "global_step": info.global_step,
                "signatures": {",".join(graph.tags): list(graph.signature_def) for graph in info.meta_graphs},
            }
            for version, info in infos.items()
        ]
    }


def _versions_text(base: str, infos: Mapping[int, ExportInfo]) -> Iterator[str]:
    yield f"{base} holds {len(infos)} export{'s' * (len(infos) != 1)}, the newest last:"
    for version, info in infos.items():
        names = [name for graph in info.meta_graphs for name in graph.signature_def]
        yield f"  {version}  {_time(version)}  step {info.global_step}  {', '.join(dict.fromkeys(names))}"


def _time(version: int) -> str:
    """The time of a version that is a timestamp, in UTC."""
    try:
        time = datetime.datetime.fromtimestamp(version, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return "-"
    # Versions that users number themselves are no times.
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time.year >= 2000 else "-"


def _summary_text(path: str, info: ExportInfo) -> Iterator[str]:
    yield f"{path}: exported at step {info.global_step}"
    for graph in info.meta_graphs:
        yield ""
        yield f"Signatures with the tag {', '.join(graph.tags)}:"
        for name, signature in graph.signature_def.items():
            yield f"  {name} ({signature.method_name})"
            yield from _arguments_text("in ", signature.inputs)
            yield from _arguments_text("out", signature.outputs)
    yield ""
    yield from _files_text(path, info)
    yield from _facts_text(info)


def _arguments_text(label: str, infos: Mapping[str, TensorInfo]) -> Iterator[str]:
    width = max(map(len, infos), default=0)
    for key, info in infos.items():
        yield f"    {label} {key:<{width}}  {info.dtype.removeprefix('DT_').lower()} {_shape(info)}"


def _all_text(path: str, info: ExportInfo) -> Iterator[str]:
    for graph in info.meta_graphs:
        yield from _signatures_text(graph)
        yield ""
    yield from _files_text(path, info)
    yield from _facts_text(info)


def _signatures_text(graph: MetaGraph) -> Iterator[str]:
    """The signatures of one mode in the layout of `saved_model_cli show`, which people and scripts know."""
    yield f"MetaGraphDef with tag-set: '{', '.join(graph.tags)}' contains the following SignatureDefs:"
    for name, signature in graph.signature_def.items():
        yield ""
        yield f"signature_def[{name!r}]:"
        yield "  The given SavedModel SignatureDef contains the following input(s):"
        yield from _tensors_text("inputs", signature.inputs)
        yield "  The given SavedModel SignatureDef contains the following output(s):"
        yield from _tensors_text("outputs", signature.outputs)
        yield f"  Method name is: {signature.method_name}"
        yield from _own_text(signature)


def _tensors_text(kind: str, infos: Mapping[str, TensorInfo]) -> Iterator[str]:
    for key, info in infos.items():
        yield f"    {kind}[{key!r}] tensor_info:"
        yield f"        dtype: {info.dtype}"
        yield f"        shape: {_shape(info)}"
        yield f"        name: {info.name}"


def _own_text(signature: Signature) -> Iterator[str]:
    """What a SavedModel does not say."""
    if signature.features is not None:
        yield "  Serialised examples are decoded to, and the files take:"
        yield from _tensors_text("features", signature.features)
    for kind, file in signature.artifacts.items():
        yield f"  File for {kind}: {file}"


def _shape(info: TensorInfo) -> str:
    """As a tuple: (-1, 3); a scalar is ()."""
    return f"({', '.join(map(str, info.shape))})"


def _files_text(path: str, info: ExportInfo) -> Iterator[str]:
    artifacts = {
        artifact
        for graph in info.meta_graphs
        for signature in graph.signature_def.values()
        for artifact in signature.artifacts.values()
    }
    yield "Files:"
    for artifact in sorted(artifacts):
        size = _size(os.path.join(path, artifact.partition("#")[0]))
        yield f"  {artifact}  {size}  {_verified_text(info.verified.get(artifact))}"
    repository = os.path.join(path, "triton")
    if os.path.isdir(repository):
        yield f"Triton repository: {repository} with the models {', '.join(sorted(os.listdir(repository)))}"


def _size(path: str) -> str:
    """Of a file, together with the external data that an ONNX file may have beside it (`model.onnx.data`)."""
    folder, name = os.path.split(path)
    if not os.path.isfile(path):
        return "missing"
    parts = (each for each in os.listdir(folder) if each == name or each.startswith(f"{name}."))
    size = float(sum(os.path.getsize(os.path.join(folder, each)) for each in parts))
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


def _verified_text(verified: Mapping[str, Any] | None) -> str:
    return "not verified" if verified is None else f"verified: {_pairs(verified)}"


def _facts_text(info: ExportInfo) -> Iterator[str]:
    if info.versions:
        yield f"Written with: {_pairs(info.versions)}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(_value, value))
    return f"{value:.2g}" if isinstance(value, float) else str(value)
