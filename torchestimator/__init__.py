"""The Estimator API on PyTorch.

import torchestimator as te

def model_fn(features, labels, mode, params):
    net = te.get_module("net", lambda: torch.nn.Linear(features["x"].shape[1], 3))
    logits = net(features["x"])
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"probabilities": logits.softmax(-1)})
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return te.EstimatorSpec(
        mode, loss=loss,
        train_op=te.minimize(loss, lambda p: torch.optim.Adam(p, lr=params["lr"])),
        eval_metric_ops={"accuracy": te.metrics.accuracy(labels, logits.argmax(-1))})

estimator = te.Estimator(model_fn, model_dir="runs/iris", params={"lr": 0.01})
estimator.train(input_fn, steps=1000)
"""

from torchestimator import experimental, export, feature_column, inputs, io, metrics, optim, summary
from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.config import RunConfig
from torchestimator.estimator.canned.added_metrics import add_metrics
from torchestimator.estimator.canned.baseline import BaselineClassifier, BaselineEstimator, BaselineRegressor
from torchestimator.estimator.canned.dnn import DNNClassifier, DNNEstimator, DNNRegressor
from torchestimator.estimator.canned.dnn_linear_combined import (
    DNNLinearCombinedClassifier,
    DNNLinearCombinedEstimator,
    DNNLinearCombinedRegressor,
)
from torchestimator.estimator.canned.linear import LinearClassifier, LinearEstimator, LinearRegressor
from torchestimator.estimator.canned.parse_example_spec import (
    classifier_parse_example_spec,
    regressor_parse_example_spec,
)
from torchestimator.estimator.estimator import Estimator
from torchestimator.estimator.exporter import Exporter
from torchestimator.estimator.exporters import BestExporter, FinalExporter, LatestExporter
from torchestimator.estimator.model_to_estimator import model_to_estimator
from torchestimator.estimator.specs import EvalSpec, TrainSpec
from torchestimator.estimator.train_and_evaluate import train_and_evaluate
from torchestimator.estimator.warm_start import VocabInfo, WarmStartSettings
from torchestimator.head import (
    BinaryClassHead,
    Head,
    LogisticRegressionHead,
    MultiClassHead,
    MultiHead,
    MultiLabelHead,
    PoissonRegressionHead,
    RegressionHead,
)
from torchestimator.hooks.checkpoint_saver import CheckpointSaverHook, CheckpointSaverListener
from torchestimator.hooks.feed_fn import FeedFnHook
from torchestimator.hooks.final_ops import FinalOpsHook
from torchestimator.hooks.hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.hooks.logging_tensor import LoggingTensorHook
from torchestimator.hooks.nan import NanLossDuringTrainingError, NanTensorHook
from torchestimator.hooks.profiler import ProfilerHook
from torchestimator.hooks.step_counter import StepCounterHook
from torchestimator.hooks.stop import GlobalStepWaiterHook, StopAtStepHook
from torchestimator.hooks.summary_saver import SummarySaverHook
from torchestimator.hooks.timer import SecondOrStepTimer
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.frame import get_global_step, get_module, get_parameter, identity, name_scope
from torchestimator.model.module import ModelFnModule
from torchestimator.spec import EstimatorSpec
from torchestimator.strategy.ddp import DDP
from torchestimator.strategy.fsdp import FSDP
from torchestimator.strategy.single_device import SingleDevice
from torchestimator.strategy.strategy import Strategy
from torchestimator.strings import StringTensor, Vocabulary, index_to_string
from torchestimator.train_op.description import group, minimize

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 (plain order everywhere)
    "BaselineClassifier",
    "BaselineEstimator",
    "BaselineRegressor",
    "BestExporter",
    "BinaryClassHead",
    "CheckpointDamagedError",
    "CheckpointSaverHook",
    "CheckpointSaverListener",
    "DDP",
    "DNNClassifier",
    "DNNEstimator",
    "DNNLinearCombinedClassifier",
    "DNNLinearCombinedEstimator",
    "DNNLinearCombinedRegressor",
    "DNNRegressor",
    "Estimator",
    "EstimatorSpec",
    "EvalSpec",
    "Exporter",
    "FSDP",
    "FeedFnHook",
    "FinalExporter",
    "FinalOpsHook",
    "GlobalStepWaiterHook",
    "Head",
    "LatestExporter",
    "LinearClassifier",
    "LinearEstimator",
    "LinearRegressor",
    "LoggingTensorHook",
    "LogisticRegressionHead",
    "ModeKeys",
    "ModelFnModule",
    "MultiClassHead",
    "MultiHead",
    "MultiLabelHead",
    "NanLossDuringTrainingError",
    "NanTensorHook",
    "PoissonRegressionHead",
    "ProfilerHook",
    "RegressionHead",
    "RunConfig",
    "SecondOrStepTimer",
    "SessionRunArgs",
    "SessionRunContext",
    "SessionRunHook",
    "SessionRunValues",
    "SingleDevice",
    "StepCounterHook",
    "StopAtStepHook",
    "Strategy",
    "StringTensor",
    "SummarySaverHook",
    "TrainSpec",
    "VocabInfo",
    "Vocabulary",
    "WarmStartSettings",
    "add_metrics",
    "classifier_parse_example_spec",
    "experimental",
    "export",
    "feature_column",
    "get_global_step",
    "get_module",
    "get_parameter",
    "group",
    "identity",
    "index_to_string",
    "inputs",
    "io",
    "metrics",
    "minimize",
    "model_to_estimator",
    "name_scope",
    "optim",
    "regressor_parse_example_spec",
    "summary",
    "train_and_evaluate",
]
