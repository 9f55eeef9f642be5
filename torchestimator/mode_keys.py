"""The three modes in which a model_fn is called."""

from typing import Final


class ModeKeys:
    """Names of the modes, with the values that tf.estimator.ModeKeys has.

    `PREDICT` is spelled "infer", as in the original: folders, configuration files and
    exported models of moved projects keep working.
    """

    TRAIN: Final = "train"
    """Loss and train_op are needed; the module is in training mode."""

    EVAL: Final = "eval"
    """Loss and metrics are needed; gradients are off."""

    PREDICT: Final = "infer"
    """Predictions are needed; labels are None; gradients are off."""

    ALL: Final = ("train", "eval", "infer")
    """Every allowed value."""
