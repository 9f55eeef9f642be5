"""The counterpart of tf.estimator.experimental."""

from torchestimator.estimator.canned.kmeans import KMeans
from torchestimator.estimator.canned.linear_sdca import LinearSDCA
from torchestimator.estimator.canned.logits import call_logit_fn, dnn_logit_fn_builder, linear_logit_fn_builder
from torchestimator.estimator.canned.rnn import RNNClassifier, RNNEstimator
from torchestimator.export.receiver_fns import build_raw_supervised_input_receiver_fn
from torchestimator.hooks.early_stopping import (
    make_early_stopping_hook,
    stop_if_higher_hook,
    stop_if_lower_hook,
    stop_if_no_decrease_hook,
    stop_if_no_increase_hook,
)
from torchestimator.hooks.in_memory_evaluator import InMemoryEvaluatorHook
from torchestimator.hooks.stop import make_stop_at_checkpoint_step_hook

__all__ = [
    "InMemoryEvaluatorHook",
    "KMeans",
    "LinearSDCA",
    "RNNClassifier",
    "RNNEstimator",
    "build_raw_supervised_input_receiver_fn",
    "call_logit_fn",
    "dnn_logit_fn_builder",
    "linear_logit_fn_builder",
    "make_early_stopping_hook",
    "make_stop_at_checkpoint_step_hook",
    "stop_if_higher_hook",
    "stop_if_lower_hook",
    "stop_if_no_decrease_hook",
    "stop_if_no_increase_hook",
]
