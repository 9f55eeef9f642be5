"""Nothing is read from a tensor where that would stop a device or break a trace."""

import pytest
import torch
from torch import nn

from tests.head.cases import LABELS, ROWS, head_of, logits_of, words
from torchestimator.capture.tracing import trace
from torchestimator.head import BinaryClassHead, MultiHead, SequentialHeadWrapper
from torchestimator.strings import StringTensor

KINDS = sorted(LABELS)
FEATURES = {"w": torch.rand(ROWS, generator=torch.Generator().manual_seed(3))}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_gradients_and_metrics_can_be_captured(kind):
    head = head_of(kind, "w")

    def evaluated(logits, labels, weights):
        logits = logits.detach().requires_grad_()
        loss, seen = head.loss_and_metrics({"w": weights}, logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        return [loss.detach(), gradient, *(tensor for metric in seen.values() for tensor in metric.state.values())]

    inputs = [logits_of(head), LABELS[kind], FEATURES["w"]]
    torch.testing.assert_close(trace(evaluated, inputs)(*inputs), evaluated(*inputs))


BAD = {
    "binary": torch.tensor([0, 1, 2, 0, 1, 0]),
    "binary_words": words(["no", "yes", "maybe", "no", "no", "yes"]),
    "multi_class": torch.tensor([0, 3, 1, 1, 0, 2]),
    "multi_class_words": words(["a", "q", "b", "b", "a", "c"]),
    "multi_label": LABELS["multi_label"] * 2,
    "logistic": torch.tensor([0.0, 1.0, 0.3, 0.7, -0.5, 0.9]),
    "poisson": torch.tensor([0, 3, 1, -7, 2, 0]),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_labels_in_a_captured_step_make_the_loss_nan(kind):
    head = head_of(kind)
    logits = logits_of(head)
    graph = trace(lambda logits, labels: head.loss(labels, logits), [logits, LABELS[kind]])
    torch.testing.assert_close(graph(logits, LABELS[kind]), head.loss(LABELS[kind], logits))
    assert graph(logits, BAD[kind]).isnan()
    with pytest.raises(ValueError, match="`labels`"):
        head.loss(BAD[kind], logits)


def test_bad_weights_in_a_captured_step_make_the_loss_nan():
    head = head_of("binary", "w")
    inputs = [logits_of(head), FEATURES["w"]]
    graph = trace(lambda logits, weights: head.loss(LABELS["binary"], logits, {"w": weights}), inputs)
    assert graph(*inputs) == head.loss(LABELS["binary"], inputs[0], FEATURES)
    assert graph(inputs[0], -inputs[1]).isnan()


class Predicting(nn.Module):
    """Predictions as plain tensors."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, logits):
        spec = self.head.create_estimator_spec({}, "infer", logits)
        return [value.indices if isinstance(value, StringTensor) else value for value in spec.predictions.values()]


@pytest.mark.parametrize("kind", [*KINDS, "multi_head"])
def test_predictions_can_be_exported(kind):
    head = MultiHead([head_of("binary", name="a"), head_of("regression", name="b")])
    head = head if kind == "multi_head" else head_of(kind)
    module = Predicting(head)
    few, many = logits_of(head, 2), logits_of(head, 5)
    program = torch.export.export(module, (few,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(many), module(many))


def test_a_compiler_sees_one_graph():
    head = SequentialHeadWrapper(BinaryClassHead(weight_column="w", label_vocabulary=["no", "yes"]), "mask", ["w"])
    labels, logits = LABELS["binary_words"].reshape(2, 3), logits_of(head_of("binary")).reshape(2, 3, 1)
    features = {"w": FEATURES["w"].reshape(2, 3), "mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}

    def trained(logits, labels, features):
        spec = head.create_estimator_spec(features, "train", logits, labels, optimizer=torch.optim.SGD)
        return spec.loss

    compiled = torch.compile(trained, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, labels, features), head.loss(labels, logits, features))
