"""Strings at the inputs and outputs of an exported ONNX model.

Torch has no strings: there a string is its int64 fingerprint at the inputs and an index into a vocabulary at the
outputs, and so are they in a program that torch exports. These functions put the strings back, in the graph itself, so
that any ONNX Runtime serves the model without a custom library.
"""

from collections.abc import Sequence

from torchestimator.export.onnx_fingerprint import add_fingerprint64
from torchestimator.export.onnx_graph import GraphBuilder, Model, Value

_PREFIX = "strings"
_PASSTHROUGH = "torchestimator.passthrough"
"""Marks the nodes of `add_passthrough_output`, in memory only: an `Identity` may also be what is left of arithmetic."""


def add_string_inputs(model: Model, names: Sequence[str]) -> None:
    """Turns inputs that hold Fingerprint64 values of strings into inputs of these strings.

    All of them are hashed together: name them all in one call. Strings may have any length and any characters. What
    `add_passthrough_output` made an output of such an input becomes an output of strings.

    Args:
        model: an `onnx_ir.Model` of opset 18 or newer, as in `torch.onnx.export(...).model`; changed in place.
        names: its inputs, int64 of rank 1 or more. Name, place and shape stay.

    Raises:
        ValueError: a name is no int64 input.
    """
    if not names:
        return
    builder = GraphBuilder(f"{_PREFIX}/fingerprint64")
    inputs = [_replace_input(model, name) for name in names]
    hashed = [(strings, old) for strings, old in inputs if old.uses()]
    if not hashed:
        return
    flat = [builder.op("Reshape", strings, builder.constant([-1])) for strings, _ in hashed]
    # One more string, whose hash is dropped, makes sure that there is one: empty batches need no nodes of their own.
    fingerprints = add_fingerprint64(builder, builder.op("Concat", *flat, builder.string("."), axis=0))
    sizes = builder.op("Concat", *(builder.op("Shape", each) for each in flat), builder.constant([1]), axis=0)
    parts = builder.op("Split", fingerprints, sizes, outputs=len(flat) + 1, axis=0)
    for (strings, old), part in zip(hashed, parts, strict=False):
        new = builder.op("Reshape", part, builder.op("Shape", strings), allowzero=1)
        new.type, new.shape = old.type, old.shape
        for node, index in list(old.uses()):
            node.replace_input_with(index, new)
    builder.insert_into(model, first=True)


def add_string_output(model: Model, name: str, vocabulary: Sequence[str]) -> None:
    """Turns an output of indices into the strings that they stand for.

    Args:
        model: an `onnx_ir.Model`; changed in place.
        name: its output, int64 of any rank. Name, place and shape stay.
        vocabulary: the string of each index; any other index gives "".

    Raises:
        ValueError: the name is no int64 output.
    """
    place, indices = _output(model, name)
    if indices.dtype is not None and indices.dtype.name != "INT64":
        raise ValueError(
            f"`{name}` must be an output of int64 indices to become strings. Received: {indices.dtype.name}. "
            "Convert it in the model: indices.long()"
        )
    builder = GraphBuilder(f"{_PREFIX}/{name}")
    indices.name = f"{_PREFIX}/{name}/indices"
    strings = builder.op(
        "LabelEncoder",
        indices,
        domain="ai.onnx.ml",
        name=name,
        keys_int64s=list(range(len(vocabulary))),
        values_strings=list(vocabulary),
        default_string="",
    )
    _become(strings, "STRING", indices)
    model.graph.outputs[place] = strings
    builder.insert_into(model, first=False)


def add_passthrough_output(model: Model, name: str, input_name: str, *, as_column: bool = False) -> None:
    """Makes an output the input itself, of whatever dtype; what computed the output before is removed.

    Best called before `add_string_inputs`, which then does not hash what is only handed on.

    Args:
        model: an `onnx_ir.Model`; changed in place.
        name: its output. Name and place stay.
        input_name: the input to hand on.
        as_column: whether an input [batch] becomes an output [batch, 1].

    Raises:
        ValueError: there is no such output or input.
    """
    place, before = _output(model, name)
    source = model.graph.inputs[_input_place(model, input_name)]
    builder = GraphBuilder(f"{_PREFIX}/passthrough/{name}")
    if before is not source:
        before.name = f"{_PREFIX}/passthrough/{name}/unused"
    if as_column:
        copy = builder.op("Unsqueeze", source, builder.constant([-1]), name=name)
        copy.type, copy.shape = source.type, before.shape
    else:
        copy = builder.op("Identity", source, name=name)
        copy.type, copy.shape = source.type, source.shape
    copy.producer().meta[_PASSTHROUGH] = True
    model.graph.outputs[place] = copy
    _remove_unused(model, before)
    builder.insert_into(model, first=False)


def _replace_input(model: Model, name: str) -> tuple[Value, Value]:
    """Puts a string input into the place of an int64 one; returns both."""
    import onnx_ir

    place = _input_place(model, name)
    old = model.graph.inputs[place]
    if old.dtype is not None and old.dtype.name != "INT64":
        raise ValueError(
            f"`{name}` must be an input of int64 fingerprints to become strings. Received: {old.dtype.name}."
        )
    strings = onnx_ir.Value(name=name, type=onnx_ir.TensorType(onnx_ir.DataType.STRING), shape=old.shape)
    model.graph.inputs[place] = strings
    for node, index in list(old.uses()):
        if _PASSTHROUGH in node.meta:
            node.replace_input_with(index, strings)
            node.outputs[0].type = strings.type
    old.name = f"{_PREFIX}/fingerprint64/{name}"
    return strings, old


def _become(value: Value, dtype: str, like: Value) -> None:
    import onnx_ir

    value.type, value.shape = onnx_ir.TensorType(onnx_ir.DataType[dtype]), like.shape


def _remove_unused(model: Model, value: Value) -> None:
    """Removes the node of a value, and then its inputs', where nothing uses them."""
    node = value.producer()
    used = {id(output) for output in model.graph.outputs}
    if node is None or any(output.uses() or id(output) in used for output in node.outputs):
        return
    sources = [source for source in node.inputs if source is not None]
    model.graph.remove(node, safe=True)
    for source in sources:
        _remove_unused(model, source)


def _input_place(model: Model, name: str) -> int:
    return _place(name, [each.name for each in model.graph.inputs], "input")


def _output(model: Model, name: str) -> tuple[int, Value]:
    place = _place(name, [each.name for each in model.graph.outputs], "output")
    return place, model.graph.outputs[place]


def _place(name: str, names: list[str], kind: str) -> int:
    if name not in names:
        raise ValueError(f"The model has the {kind}s {', '.join(names)}. Received: {name!r}.")
    return names.index(name)
