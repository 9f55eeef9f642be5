"""Ways in which the batches of an input_fn reach the cores."""

import enum


class InputPipelineConfig(enum.IntEnum):
    """How often input_fn is called, and what becomes of its batches (tf.estimator.tpu.InputPipelineConfig)."""

    PER_SHARD_V1 = 1
    """In training one call per core, each for that core's batches; otherwise as PER_HOST_V1."""
    PER_HOST_V1 = 2
    """One call per host, whose batches are split among its cores."""
    PER_HOST_V2 = 3
    """One call per host; each core takes a batch of its own in turn."""
    BROADCAST = 4
    """One call; all cores get the same batches."""
    SLICED = 5
    """One call, whose batches are split among all cores of all hosts; for evaluation and prediction."""
