"""Heads: from logits to loss, predictions, metrics and serving signatures.

    head = te.MultiClassHead(n_classes=3, label_vocabulary=["setosa", "versicolor", "virginica"])

    def model_fn(features, labels, mode):
        net = te.get_module("net", lambda: torch.nn.Linear(4, head.logits_dimension))
        return head.create_estimator_spec(
            features, mode, net(features["x"]), labels, optimizer=lambda params: torch.optim.Adam(params, lr=1e-3))

Losses, predictions, metric names and numbers are those of tf.estimator's heads. A head reads nothing from the device,
so a model built with one can be captured, exported and traced.
"""

from torchestimator.head.binary_class import BinaryClassHead
from torchestimator.head.classification import binary_or_multi_class_head
from torchestimator.head.head import Head
from torchestimator.head.logistic_regression import LogisticRegressionHead
from torchestimator.head.multi_class import MultiClassHead
from torchestimator.head.multi_head import MultiHead
from torchestimator.head.multi_label import MultiLabelHead
from torchestimator.head.poisson_regression import PoissonRegressionHead
from torchestimator.head.regression import RegressionHead
from torchestimator.head.sequential import SequentialHeadWrapper

__all__ = [
    "BinaryClassHead",
    "Head",
    "LogisticRegressionHead",
    "MultiClassHead",
    "MultiHead",
    "MultiLabelHead",
    "PoissonRegressionHead",
    "RegressionHead",
    "SequentialHeadWrapper",
    "binary_or_multi_class_head",
]
