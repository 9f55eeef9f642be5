"""MLServer's side: an ONNX file behind its model interface, since it brings no runtime for these files."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """A session of ONNX Runtime; the file is the `uri` of the model's settings."""

    async def load(self) -> bool:
        """Opens the file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        self._outputs = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Computes one request."""
        feeds = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        computed = self._session.run(self._outputs, feeds)
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(self._outputs, computed, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
