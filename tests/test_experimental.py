"""The names of tf.estimator.experimental."""

import torchestimator as te
from torchestimator import experimental


def test_the_early_stopping_family_and_the_evaluator_are_there():
    original = {
        "InMemoryEvaluatorHook",
        "make_early_stopping_hook",
        "make_stop_at_checkpoint_step_hook",
        "stop_if_higher_hook",
        "stop_if_lower_hook",
        "stop_if_no_decrease_hook",
        "stop_if_no_increase_hook",
    }
    assert original <= set(experimental.__all__)
    assert te.experimental is experimental
    for name in experimental.__all__:
        assert callable(getattr(experimental, name))
        assert getattr(experimental, name).__doc__
