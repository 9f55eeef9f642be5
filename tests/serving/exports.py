"""Exports made node by node, in milliseconds, whose results can be computed in one's head."""

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

from torchestimator.export.signature import CLASSIFY, FILE_NAME, PREDICT, REGRESS, ExportInfo, MetaGraph, Signature
from torchestimator.export.tensor_info import TensorInfo
from torchestimator.io import FixedLenFeature, VarLenFeature

COLORS = ["red", "green", "blue"]
OFFSETS = [0.0, 10.0, 20.0]
BATCH = ("batch", None)
_TYPES = {"DT_FLOAT": TensorProto.FLOAT, "DT_STRING": TensorProto.STRING, "DT_INT64": TensorProto.INT64}


def info(name, dtype="DT_FLOAT", shape=(-1, 1), dim_names=BATCH):
    return TensorInfo(name, dtype, shape, dim_names)


def price_and_color(factor=1.0):
    """total = price * factor + the offset of the color. A color that is not known makes ONNX Runtime fail."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["color"],
            ["index"],
            domain="ai.onnx.ml",
            keys_strings=COLORS,
            values_int64s=[0, 1, 2],
            default_int64=99,
        ),
        helper.make_node("Gather", ["offsets", "index"], ["offset"]),
        helper.make_node("Mul", ["price", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["total"]),
        helper.make_node("Identity", ["color"], ["label"]),
    ]
    constants = {"offsets": np.array(OFFSETS, "float32"), "factor": np.array([factor], "float32")}
    inputs = {"price": info("price"), "color": info("color", "DT_STRING")}
    outputs = {"total": info("total"), "label": info("label", "DT_STRING")}
    return nodes, constants, inputs, outputs


def classes():
    """Scores [x, -x] for the labels "no" and "yes"."""
    nodes = [
        helper.make_node("Mul", ["x", "signs"], ["scores"]),
        helper.make_node("Shape", ["scores"], ["shape"]),
        helper.make_node("Expand", ["labels", "shape"], ["indices"]),
        helper.make_node(
            "LabelEncoder",
            ["indices"],
            ["classes"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1],
            values_strings=["no", "yes"],
        ),
    ]
    constants = {"signs": np.array([[1, -1]], "float32"), "labels": np.array([[0, 1]], "int64")}
    outputs = {"scores": info("scores", shape=(-1, 2)), "classes": info("classes", "DT_STRING", (-1, 2))}
    return nodes, constants, {"x": info("x")}, outputs


def doubled():
    nodes = [helper.make_node("Add", ["x", "x"], ["outputs"])]
    return nodes, {}, {"x": info("x")}, {"outputs": info("outputs")}


def sums_of_tokens():
    nodes = [helper.make_node("ReduceSum", ["tokens", "axes"], ["sums"], keepdims=1)]
    tokens = info("tokens", "DT_INT64", (-1, -1), ("batch", "length"))
    return nodes, {"axes": np.array([1])}, {"tokens": tokens}, {"sums": info("sums", "DT_INT64")}


def of_examples():
    """outputs = 2 * x + the sum of the tokens, which are decoded from tf.Examples and padded with -1."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("ReduceSum", ["tokens", "axes"], ["sums"], keepdims=1),
        helper.make_node("Cast", ["sums"], ["reals"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["twice", "reals"], ["outputs"]),
    ]
    features = {"x": info("x"), "tokens": info("tokens", "DT_INT64", (-1, -1), ("batch", "length"))}
    return nodes, {"axes": np.array([1])}, features, {"outputs": info("outputs")}


EXAMPLE_SPEC = {
    "x": FixedLenFeature([1], "float32", default_value=10.0).to_json(),
    "tokens": VarLenFeature("int64").to_json(),
}


def write_onnx(path, nodes, constants, inputs, outputs):
    def values(infos):
        return [
            helper.make_tensor_value_info(
                key, _TYPES[each.dtype], [size if size >= 0 else f"d{axis}" for axis, size in enumerate(each.shape)]
            )
            for key, each in infos.items()
        ]

    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "signature", values(inputs), values(outputs), initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    path.parent.mkdir(parents=True)
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def write_export(base, version, factor=1.0):
    """Writes an export with five signatures; it appears in the base folder when it is complete."""
    parts = {
        "serving_default": (PREDICT, price_and_color(factor)),
        "classification": (CLASSIFY, classes()),
        "regression": (REGRESS, doubled()),
        "tokens": (PREDICT, sums_of_tokens()),
    }
    hidden = Path(base) / f"temp-{version}"
    signatures = {}
    for name, (method, (nodes, constants, inputs, outputs)) in parts.items():
        write_onnx(hidden / name / "model.onnx", nodes, constants, inputs, outputs)
        signatures[name] = Signature(method, inputs, outputs, {"onnx": f"{name}/model.onnx"})
    nodes, constants, features, outputs = of_examples()
    write_onnx(hidden / "examples" / "model.onnx", nodes, constants, features, outputs)
    sent = {"examples": info("examples", "DT_STRING", (-1,), ("batch",))}
    files = {"onnx": "examples/model.onnx"}
    signatures["examples"] = Signature(REGRESS, sent, outputs, files, EXAMPLE_SPEC, features)
    description = ExportInfo((MetaGraph(("serve",), signatures),), 100)
    (hidden / FILE_NAME).write_text(json.dumps(description.to_json()))
    return hidden.rename(Path(base) / str(version))
