"""The benchmarks' classifier as an export, called in-process."""

import tempfile

import onnxruntime
import torch

import torchestimator as te
from tests.benchmarks.contenders import problem
from tests.benchmarks.contenders.estimator import model_fn
from tests.benchmarks.contenders.requests import Requests, main


def write_export(base: str) -> str:
    """Trains the classifier a little and exports it as ONNX; returns the path of the export."""
    x, y = problem.arrays()
    estimator = te.Estimator(model_fn, model_dir=tempfile.mkdtemp(prefix="torchestimator-benchmark-"))
    estimator.train(te.inputs.numpy_input_fn({"x": x}, y, batch_size=problem.BATCH, shuffle=True), steps=10)
    receiver_fn = te.export.build_raw_serving_input_receiver_fn({"x": x[:2]})
    return estimator.export_saved_model(base, receiver_fn, formats=("onnx",))


def call_export(requests: Requests) -> None:
    """Calls of a loaded export with one row."""
    row = {"x": problem.arrays()[0][:1]}
    signature = te.export.load(write_export(tempfile.mkdtemp()), num_threads=torch.get_num_threads()).default
    requests.serve(lambda calls: [signature(row) for _ in range(calls)])


def call_session(requests: Requests) -> None:
    """Calls of ONNX Runtime with one row."""
    row = {"x": problem.arrays()[0][:1]}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    file = f"{write_export(tempfile.mkdtemp())}/serving_default/model.onnx"
    run = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]).run
    requests.serve(lambda calls: [run(None, row) for _ in range(calls)])


if __name__ == "__main__":
    main({"call_export": call_export, "call_session": call_session}, torch.set_num_threads)
