"""TensorFlow Serving's REST API: what its bodies mean.

https://www.tensorflow.org/tfx/serving/api_rest and `tensorflow_serving/util/json_tensor.cc`. Numbers that JSON lacks
(NaN, infinity) are null in answers.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchestimator.export.loader import LoadedSignature
from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE
from torchestimator.export.runtime import Arrays
from torchestimator.export.signature import CLASSIFY, REGRESS
from torchestimator.export.tensor_info import TensorInfo
from torchestimator.io import encode_example
from torchestimator.serving.http_message import Answer, json_answer
from torchestimator.serving.request_error import RequestError, one_of
from torchestimator.serving.served_version import ServedVersion

METHODS = {"classify": CLASSIFY, "regress": REGRESS}
"""The kind of signature that each verb other than "predict" takes."""

_BASE64 = "b64"
_BYTES_SUFFIX = "_bytes"
_MOST_DIMENSIONS = 32


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a client asks for."""

    features: Mapping[str, Any]
    """Its inputs by name, still as lists."""
    num_rows: int | None
    """How many `instances` it sent; None: it sent `inputs`, and wants columns."""


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request is for."""
    return document.get("signature_name") or DEFAULT_SERVING_SIGNATURE


def predict_request(document: Mapping[str, Any], signature: LoadedSignature) -> PredictRequest:
    """Reads the document of a predict request.

    Raises:
        RequestError: it has neither of the two forms.
    """
    is_rows, is_columns = "instances" in document, "inputs" in document
    if is_rows == is_columns:
        raise RequestError(
            400,
            'The body must have either "instances", a list of rows, or "inputs", all rows by input. '
            f"Received: {_listed(document)}.",
        )
    if is_columns:
        columns = document["inputs"]
        named = columns if isinstance(columns, dict) and not _is_base64(columns) else None
        features = {_only_input(signature, '"inputs"'): columns} if named is None else dict(named)
        return PredictRequest(_decoded(features, signature), None)
    rows = document["instances"]
    if not isinstance(rows, list) or not rows:
        raise RequestError(400, f'"instances" must be a list with at least one row. Received: {_excerpt(rows)}.')
    if isinstance(rows[0], dict) and not _is_base64(rows[0]):
        features = _columns(rows, "instances")
    else:
        features = {_only_input(signature, 'Each of the "instances"'): rows}
    return PredictRequest(_decoded(features, signature), len(rows))


def predict_answer(request: PredictRequest, outputs: Arrays, model: str) -> Answer:
    """The answer to a predict request: rows for rows, columns for columns; the name of a single output is left out.

    Raises:
        RequestError: rows were sent, and an output has not one value for each.
    """
    if request.num_rows is None:
        columns = {key: _column(key, array) for key, array in outputs.items()}
        return json_answer({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}, model)
    rows_of = {}
    for key, array in outputs.items():
        if array.shape[:1] != (request.num_rows,):
            raise RequestError(
                400,
                f'The output "{key}" has shape {list(array.shape)}, not one row for each of the {request.num_rows} '
                '"instances". Send "inputs" instead, which answers whole outputs.',
            )
        column = _column(key, array)
        rows_of[key] = column if isinstance(column, list) else list(column)
    if len(rows_of) == 1:
        return json_answer({"predictions": next(iter(rows_of.values()))}, model)
    rows = [dict(zip(rows_of, values, strict=True)) for values in zip(*rows_of.values(), strict=True)]
    return json_answer({"predictions": rows}, model)


def examples_request(document: Mapping[str, Any], signature: LoadedSignature, verb: str) -> Mapping[str, Any]:
    """Reads the document of a classify or regress request: its inputs by name, as lists.

    Each example gives its features as values or lists of values, as a tf.Example does; "context" has those that all
    examples share.

    Raises:
        RequestError: it lacks "examples", or the signature is of another kind.
    """
    if signature.method_name != METHODS[verb]:
        raise RequestError(
            400,
            f'The signature "{signature.name}" has the method {signature.method_name}, and :{verb} needs '
            f'{METHODS[verb]}. Choose another by "signature_name", or use :predict.',
        )
    examples, context = document.get("examples"), document.get("context", {})
    if not isinstance(examples, list) or not examples or not all(isinstance(each, dict) for each in examples):
        raise RequestError(
            400, f'"examples" must be a list with at least one object of features. Received: {_excerpt(examples)}.'
        )
    if not isinstance(context, dict):
        raise RequestError(400, f'"context" must be an object of features. Received: {_excerpt(context)}.')
    rows = [{**context, **example} for example in examples]
    spec, infos = signature.example_spec or {}, signature.features
    for name in {name for row in rows for name in row} - infos.keys():
        raise RequestError(400, f'The signature "{signature.name}" has no feature "{name}"; {one_of(name, infos)}')
    others = [{key: value for key, value in row.items() if key not in spec} for row in rows]
    columns = {key: _in_shape(column, infos[key]) for key, column in _columns(others, "examples").items()}
    if signature.example_key is not None:
        # As serialised tf.Examples they get the defaults of missing features, and rows may have different lengths.
        columns[signature.example_key] = [_serialized(row, spec) for row in rows]
    return _decoded(columns, signature)


def examples_answer(verb: str, outputs: Arrays, model: str) -> Answer:
    """The answer to a classify or regress request: pairs of label and score, or the value, for each example."""
    if verb == "regress":
        values = outputs["outputs"]
        return json_answer({"results": list(values.reshape(-1) if values.size == len(values) else values)}, model)
    scores, classes = outputs.get("scores"), outputs.get("classes")
    num_rows, num_classes = (classes if scores is None else scores).shape  # type: ignore[union-attr]
    labels = [[""] * num_classes] * num_rows if classes is None else [list(map(str, row)) for row in classes.tolist()]
    values = np.zeros((num_rows, num_classes), np.float32) if scores is None else scores
    pairs = [list(zip(names, row, strict=True)) for names, row in zip(labels, values, strict=True)]
    return json_answer({"results": pairs}, model)


def status(version: ServedVersion) -> dict[str, Any]:
    """What `GET /v1/models/<model>` answers."""
    state = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return {"model_version_status": [{"version": str(version.number), **state}]}


def metadata(version: ServedVersion) -> dict[str, Any]:
    """What `GET /v1/models/<model>/metadata` answers."""
    signatures = {
        name: {
            "inputs": _infos(version.export[name].inputs),
            "outputs": _infos(version.export[name].outputs),
            "method_name": version.export[name].method_name,
            "defaults": {},
        }
        for name in version.export
    }
    return {
        "model_spec": {"name": version.name, "signature_name": "", "version": str(version.number)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _infos(infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    return {
        key: {
            "dtype": info.dtype,
            "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in info.shape], "unknown_rank": False},
            "name": key,
        }
        for key, info in infos.items()
    }


def _columns(rows: Sequence[Any], of: str) -> dict[str, Any]:
    """The rows' values by key, all of which every row must have."""
    keys = rows[0].keys()
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != keys:
            raise RequestError(
                400,
                f'All "{of}" must have the same inputs. Received: {_listed(keys)} in the first, '
                f"{_listed(row) if isinstance(row, dict) else _excerpt(row)} in number {index + 1}.",
            )
    return {key: [row[key] for row in rows] for key in keys}


def _only_input(signature: LoadedSignature, what: str) -> str:
    if len(signature.inputs) != 1:
        raise RequestError(
            400,
            f'{what} must be an object with the inputs of the signature "{signature.name}": '
            f"{_listed(signature.inputs)}. Only where there is a single one can its name be left out.",
        )
    return next(iter(signature.inputs))


def _serialized(row: Mapping[str, Any], spec: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The tf.Example of the features that are decoded from one; whole numbers may stand for real ones, as in JSON."""
    features = {key: _without_base64(key, value) for key, value in row.items() if key in spec}
    for key, value in features.items():
        if spec[key]["dtype"] == "float32":
            features[key] = _with_floats(value)
    try:
        return encode_example(features)
    except (TypeError, ValueError) as error:
        raise RequestError(400, str(error)) from error


def _with_floats(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    return [float(each) if type(each) is int else each for each in values]


def _in_shape(column: list[Any], info: TensorInfo) -> Any:
    """A column of examples, whose features are flat lists, in the shape of the input."""
    rows = [value if isinstance(value, list) else [value] for value in column]
    try:
        return np.asarray(rows, dtype=object).reshape(len(rows), *info.shape[1:]).tolist()
    except ValueError:
        return column  # whose shape is then refused, with the name of the input


def _decoded(features: Mapping[str, Any], signature: LoadedSignature) -> Mapping[str, Any]:
    """The features with strings instead of {"b64": ...}."""
    infos = signature.inputs | signature.features
    return {
        key: _without_base64(key, value) if key in infos and infos[key].is_string else value
        for key, value in features.items()
    }


def _without_base64(key: str, value: Any, depth: int = 0) -> Any:
    if isinstance(value, list):
        if depth == _MOST_DIMENSIONS:
            raise RequestError(400, f"The input `{key}` has lists in lists in lists, more than {depth} deep.")
        return [_without_base64(key, each, depth + 1) for each in value]
    if not _is_base64(value):
        return value
    try:
        return base64.b64decode(value[_BASE64], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise RequestError(400, f'The input "{key}" has {{"b64": ...}} that is no base64: {error}.') from None


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_BASE64}


def _column(key: str, array: NDArray[Any]) -> Any:
    """The values of an output; strings under a name that ends with "_bytes" are encoded, as TensorFlow Serving does."""
    if array.dtype != object:
        return np.ascontiguousarray(array)
    strings = array.tolist()
    return _with_base64(strings) if key.endswith(_BYTES_SUFFIX) else strings


def _with_base64(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    return {_BASE64: base64.b64encode(value.encode("utf-8")).decode("ascii")}


def _listed(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names) or "nothing"


def _excerpt(value: object) -> str:
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 80 else f"{text[:80]}..."
