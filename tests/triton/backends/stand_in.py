"""What the stand-ins for Triton's C++ backends share: checks of the configuration, and batches of requests.

The wheel that brings the server has no onnxruntime and no pytorch backend. Triton also takes backends written in
Python, so these load the same repositories under the same names, and refuse what the C++ ones refuse.
"""

import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
import triton_python_backend_utils as pb


class StandIn:
    """One model in one version. Subclasses name `FILE` and write `load` and `run`."""

    FILE: str

    def load(self, path: str) -> None:
        """Loads the model file and checks the configuration against it."""
        raise NotImplementedError

    def run(self, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Computes the outputs of these names."""
        raise NotImplementedError

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by the server when it loads the model."""
        self.config = json.loads(args["model_config"])
        self.name = args["model_name"]
        self.batches = self.config["max_batch_size"] > 0
        path = os.path.join(args["model_repository"], args["model_version"], self.FILE)
        # The form for models with external data.
        self.load(os.path.join(path, self.FILE) if os.path.isdir(path) else path)

    def execute(self, requests: Sequence[object]) -> list[object]:
        """Called by the server with the requests that it wants computed together."""
        if not self.batches:
            return [response for request in requests for response in self.compute([request])]
        return self.compute(requests)

    def compute(self, requests: Sequence[object]) -> list[object]:
        """One call of the model for all requests."""
        fed = [{tensor.name(): decoded(tensor.as_numpy()) for tensor in request.inputs()} for request in requests]
        inputs = {name: np.concatenate([each[name] for each in fed]) for name in fed[0]} if self.batches else fed[0]
        names = [each["name"] for each in self.config["output"]]
        outputs = dict(zip(names, map(encoded, self.run(inputs, names)), strict=True))
        responses, row = [], 0
        for request, each in zip(requests, fed, strict=True):
            rows = slice(row, row + len(next(iter(each.values())))) if self.batches else slice(None)
            row = rows.stop or 0
            wanted = set(request.requested_output_names())
            responses.append(
                pb.InferenceResponse([pb.Tensor(name, outputs[name][rows]) for name in names if name in wanted])
            )
        return responses

    def refuse(self, reason: str) -> None:
        """Ends loading the model."""
        raise pb.TritonModelException(f"unable to load model '{self.name}': {reason}")

    def model_shape(self, tensor: Mapping[str, object]) -> list[int]:
        """The shape of the model's tensor that an entry of the configuration means, without the batch."""
        shape = tensor["reshape"]["shape"] if "reshape" in tensor else tensor["dims"]
        return [int(size) for size in shape]

    def check_dims(self, tensor: Mapping[str, object], shape: Sequence[int], *, exact: bool) -> None:
        """CompareDimsSupported of onnxruntime_backend: the batch free, all else equal, free inputs open."""
        configured = [-1] * self.batches + self.model_shape(tensor)
        equal = len(configured) == len(shape) and all(
            have == want or (have == -1 and not exact) for have, want in zip(shape, configured, strict=True)
        )
        if not equal or (self.batches and shape[0] != -1):
            self.refuse(f"tensor '{tensor['name']}': the model has {list(shape)}, the configuration {configured}")


def decoded(values: np.ndarray) -> np.ndarray:
    """Strings as the models want them; the server hands on bytes."""
    if values.dtype != object:
        return values
    texts = [value.decode() for value in values.ravel()]
    return np.array(texts, dtype=object).reshape(values.shape)


def encoded(values: np.ndarray) -> np.ndarray:
    """Strings as the server wants them."""
    if values.dtype != object:
        return values
    return np.array([value.encode() for value in values.ravel()], dtype=object).reshape(values.shape)
