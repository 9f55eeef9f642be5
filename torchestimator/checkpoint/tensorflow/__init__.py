"""TensorFlow's checkpoints, read and converted without TensorFlow."""

from torchestimator.checkpoint.tensorflow.conversion import Translation, convert_checkpoint, translate_checkpoint
from torchestimator.checkpoint.tensorflow.reader import TensorFlowCheckpoint, is_tensorflow_checkpoint

__all__ = [
    "TensorFlowCheckpoint",
    "Translation",
    "convert_checkpoint",
    "is_tensorflow_checkpoint",
    "translate_checkpoint",
]
