"""Stand-in for pytorch_backend with TorchScript: its naming conventions, and tuples of tensors as outputs."""

import torch
import triton_python_backend_utils as pb
from stand_in import StandIn


class TritonPythonModel(StandIn):
    """A TorchScript file."""

    FILE = "model.pt"

    def load(self, path):
        torch.set_num_threads(1)
        self.module = torch.jit.load(path, map_location="cpu").eval()
        strings = [each["name"] for each in self.config["input"] if each["data_type"] == "TYPE_STRING"]
        if strings and any(len(each["dims"]) != 1 for each in self.config["input"] if each["name"] in strings):
            self.refuse(f"strings are allowed in one dimension only: {strings}")
        arguments = [argument.name for argument in self.module.forward.schema.arguments[1:]]
        names = [each["name"] for each in self.config["input"]]
        if len(names) != len(arguments):
            self.refuse(f"configuration expects {len(names)} inputs, forward has {len(arguments)} arguments")
        indices = [self.index(name) for name in names]
        if set(names) <= set(arguments):
            self.order = arguments
        elif None not in indices:
            self.order = sorted(names, key=self.index)
        else:
            self.order = names
        outputs = [self.index(each["name"]) for each in self.config["output"]]
        self.positions = list(range(len(outputs))) if None in outputs else outputs

    @staticmethod
    def index(name):
        """The position in a name like scores__0: all that follows the first "__", if it is a number."""
        _, mark, digits = name.partition("__")
        return int(digits) if mark and digits.isdigit() else None

    def run(self, inputs, names):
        with torch.inference_mode():
            outputs = self.module(*(torch.from_numpy(inputs[name]) for name in self.order))
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        if not isinstance(outputs, tuple):
            raise pb.TritonModelException("output must be of type Tensor, List[str] or Tuple of them")
        arrays = {each["name"]: outputs[at] for each, at in zip(self.config["output"], self.positions, strict=True)}
        for each in self.config["output"]:
            found = f"TYPE_{TYPES[arrays[each['name']].dtype]}"
            if found != each["data_type"]:
                raise pb.TritonModelException(f"output '{each['name']}' is {found}, not {each['data_type']}")
        return [arrays[name].numpy() for name in names]


TYPES = {
    torch.float32: "FP32",
    torch.float64: "FP64",
    torch.float16: "FP16",
    torch.int64: "INT64",
    torch.int32: "INT32",
    torch.int16: "INT16",
    torch.int8: "INT8",
    torch.uint8: "UINT8",
    torch.bool: "BOOL",
}
