"""Durable, verified, pickle-free checkpoints: tensors, JSON and folders."""

from torchestimator.checkpoint.background_saver import BackgroundSaver
from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.digest import FileDigest
from torchestimator.checkpoint.group import ALONE, Group
from torchestimator.checkpoint.lock import ModelDirLock
from torchestimator.checkpoint.mismatch import NameDifferences
from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.checkpoint.store import CheckpointStore
from torchestimator.checkpoint.tensor_file import TensorFile, read_tensors
from torchestimator.checkpoint.tensor_writer import write_tensors

__all__ = [
    "ALONE",
    "BackgroundSaver",
    "Checkpoint",
    "CheckpointDamagedError",
    "CheckpointStore",
    "FileDigest",
    "Group",
    "ModelDirLock",
    "NameDifferences",
    "TensorFile",
    "read_tensors",
    "write_tensors",
]
