"""Records on disk and on the wire: tf.Example and TFRecord without TensorFlow (`tf.io`)."""

from torchestimator.io.example_each import MalformedExampleError
from torchestimator.io.example_encoder import encode_example
from torchestimator.io.example_parser import parse_example
from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature, feature_from_json
from torchestimator.io.record_file import RecordDamagedError, read_records
from torchestimator.io.record_writer import TFRecordWriter

__all__ = [
    "FixedLenFeature",
    "MalformedExampleError",
    "RecordDamagedError",
    "TFRecordWriter",
    "VarLenFeature",
    "encode_example",
    "feature_from_json",
    "parse_example",
    "read_records",
]
