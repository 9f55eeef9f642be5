"""Versions of what writes an export."""

import onnxruntime
import torch

from torchestimator.export.versions import versions


def test_libraries_of_the_formats():
    assert versions(["torch_export", "torchscript"]).keys() == {"torchestimator", "torch"}
    found = versions(["onnx", "triton"])
    assert found.keys() == {"torchestimator", "torch", "onnx", "onnxscript", "onnxruntime", "opset", "ir_version"}
    assert found["torch"] == torch.__version__
    assert found["onnxruntime"] == onnxruntime.__version__
    assert (found["opset"], found["ir_version"]) == ("18", "8")
