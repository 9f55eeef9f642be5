"""Stand-in for onnxruntime_backend, with the checks of its `ValidateInputs` and `ValidateOutputs`."""

import onnxruntime
from stand_in import StandIn

TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(int64)": "TYPE_INT64",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int8)": "TYPE_INT8",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(bool)": "TYPE_BOOL",
    "tensor(string)": "TYPE_STRING",
}


class TritonPythonModel(StandIn):
    """An ONNX file."""

    FILE = "model.onnx"

    def load(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = {node.name: node for node in self.session.get_inputs()}
        outputs = {node.name: node for node in self.session.get_outputs()}
        if len(self.config["input"]) != len(inputs):
            self.refuse(f"configuration expects {len(self.config['input'])} inputs, model provides {len(inputs)}")
        self.check(self.config["input"], inputs, exact=False)
        self.check(self.config["output"], outputs, exact=True)

    def check(self, tensors, nodes, *, exact):
        for tensor in tensors:
            node = nodes.get(tensor["name"])
            if node is None:
                self.refuse(f"unexpected tensor '{tensor['name']}', the model has: {', '.join(nodes)}")
            if TYPES.get(node.type) != tensor["data_type"]:
                self.refuse(f"tensor '{node.name}': the model has {node.type}, the configuration {tensor['data_type']}")
            self.check_dims(tensor, [size if isinstance(size, int) else -1 for size in node.shape], exact=exact)

    def run(self, inputs, names):
        return self.session.run(names, inputs)
