"""A base folder of exports whose numbers can be computed in one's head."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchestimator.export.signature import PREDICT, ExportInfo, MetaGraph, Signature
from torchestimator.export.tensor_info import TensorInfo

OLD, NEW = 1700000000, 1700086400
TYPES = {
    "DT_FLOAT": TensorProto.FLOAT,
    "DT_INT64": TensorProto.INT64,
    "DT_BOOL": TensorProto.BOOL,
    "DT_STRING": TensorProto.STRING,
}


def info(name, dtype, *sizes):
    return TensorInfo(name, dtype, (-1, *sizes), ("batch", *(None for _ in sizes)))


def write_model(path, nodes, inputs, outputs, weights=()):
    def values(infos):
        return [
            helper.make_tensor_value_info(
                key, TYPES[each.dtype], ["batch" if size < 0 else size for size in each.shape]
            )
            for key, each in infos.items()
        ]

    graph = helper.make_graph(nodes, "graph", values(inputs), values(outputs), list(weights))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    path.parent.mkdir(parents=True)
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def scores(folder):
    """Scores are the sums of the first and of the last half of x."""
    weights = numpy_helper.from_array(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32), "weights")
    inputs = {"x": info("x", "DT_FLOAT", 4)}
    outputs = {"scores": info("scores", "DT_FLOAT", 2), "class_ids": info("class_ids", "DT_INT64", 1)}
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["class_ids"], axis=1, keepdims=1),
    ]
    write_model(folder / "serving_default" / "model.onnx", nodes, inputs, outputs, [weights])
    return Signature(PREDICT, inputs, outputs, {"onnx": "serving_default/model.onnx"})


def same(folder):
    """What goes in comes out, of every kind."""
    inputs = {
        "price": info("price", "DT_FLOAT", 1),
        "count": info("count", "DT_INT64", 1),
        "sold": info("sold", "DT_BOOL", 1),
        "color": info("color", "DT_STRING", 1),
        "image": info("image", "DT_FLOAT", 2, 3),
        "words": info("words", "DT_STRING", 2),
    }
    outputs = {f"same/{key}": each for key, each in inputs.items()}
    nodes = [helper.make_node("Identity", [key], [f"same/{key}"]) for key in inputs]
    write_model(folder / "same" / "model.onnx", nodes, inputs, outputs)
    return Signature(PREDICT, inputs, outputs, {"onnx": "same/model.onnx"})


def write_export(folder, step):
    signatures = {"serving_default": scores(folder), "same": same(folder)}
    verified = {"serving_default/model.onnx": {"batches": [1, 2, 7], "max_abs_diff": 1.25e-7}}
    export = ExportInfo((MetaGraph(("serve",), signatures),), step, {"torch": "2.13.0", "opset": "18"}, verified)
    (folder / "signatures.json").write_text(json.dumps(export.to_json()))


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """The base folder, with the versions OLD and NEW."""
    base = tmp_path_factory.mktemp("exports")
    write_export(base / str(OLD), 100)
    write_export(base / str(NEW), 200)
    return base
