"""The names of the modes."""

import torchestimator as te


def test_the_values_are_the_originals():
    assert (te.ModeKeys.TRAIN, te.ModeKeys.EVAL, te.ModeKeys.PREDICT) == ("train", "eval", "infer")
    assert te.ModeKeys.ALL == ("train", "eval", "infer")
