"""Records on disk and on the wire: tf.Example without TensorFlow (`tf.io`)."""

from torchestimator.io.example_encoder import encode_example
from torchestimator.io.example_parser import parse_example
from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature, feature_from_json

__all__ = ["FixedLenFeature", "VarLenFeature", "encode_example", "feature_from_json", "parse_example"]
