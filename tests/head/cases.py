"""One head of each kind with a batch for it."""

import torch

from torchestimator import head as heads
from torchestimator.inputs.fingerprint import fingerprint64

ROWS = 6


def words(strings):
    """Labels as they reach model_fn: fingerprints."""
    return torch.from_numpy(fingerprint64(list(strings)))


LABELS = {
    "binary": torch.tensor([0, 1, 1, 0, 1, 0]),
    "binary_words": words(["no", "yes", "yes", "no", "no", "yes"]),
    "multi_class": torch.tensor([0, 2, 1, 1, 0, 2]),
    "multi_class_words": words(["a", "c", "b", "b", "a", "c"]),
    "multi_label": torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1]]),
    "regression": torch.tensor([[0.5, 1.0], [2.0, -1.0], [0.0, 0.0], [1.0, 1.0], [-2.0, 0.5], [0.3, 0.4]]),
    "logistic": torch.tensor([0.0, 1.0, 0.3, 0.7, 0.5, 0.9]),
    "poisson": torch.tensor([0, 3, 1, 7, 2, 0]),
}


def head_of(kind, weight_column=None, name=None, loss_reduction="sum_over_batch_size"):
    """A new head of one of the kinds of `LABELS`."""
    common = {"weight_column": weight_column, "name": name, "loss_reduction": loss_reduction}
    makers = {
        "binary": lambda: heads.BinaryClassHead(thresholds=[0.25], **common),
        "binary_words": lambda: heads.BinaryClassHead(label_vocabulary=["no", "yes"], **common),
        "multi_class": lambda: heads.MultiClassHead(3, **common),
        "multi_class_words": lambda: heads.MultiClassHead(3, label_vocabulary=["a", "b", "c"], **common),
        "multi_label": lambda: heads.MultiLabelHead(3, classes_for_class_based_metrics=[0, 2], **common),
        "regression": lambda: heads.RegressionHead(2, **common),
        "logistic": lambda: heads.LogisticRegressionHead(**common),
        "poisson": lambda: heads.PoissonRegressionHead(**common),
    }
    return makers[kind]()


def logits_of(head, rows=ROWS):
    """Logits that are the same at each call."""
    return torch.randn(rows, head.logits_dimension, generator=torch.Generator().manual_seed(rows))


def values_of(eval_metrics):
    """The values of metrics by name."""
    return {key: metric.compute().item() for key, metric in eval_metrics.items()}


def strings_of(tensor):
    """The strings of a StringTensor, nested lists."""
    return tensor.vocabulary.look_up(tensor.indices.numpy()).tolist()
