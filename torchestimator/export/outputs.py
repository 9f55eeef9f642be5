"""What a serving signature gives back: the values of `EstimatorSpec.export_outputs`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torchestimator.strings import StringTensor

DEFAULT_SERVING_SIGNATURE = "serving_default"
"""The signature that answers a request which names none (tf.saved_model's constant)."""


class ExportOutput:
    """Base class: a dict of named output tensors and the serving method they belong to."""

    method_name: str = ""
    """The method of the signature, in TensorFlow Serving's spelling."""

    def __init__(self, outputs: dict[str, Tensor | StringTensor]) -> None:
        self.outputs = outputs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.outputs)})"


class ClassificationOutput(ExportOutput):
    """Scores per class, and the classes they belong to.

    Args:
        scores: [batch, classes] floating point.
        classes: [batch, classes] names of the classes, as `te.index_to_string` makes them, or their ids.
    """

    method_name = "tensorflow/serving/classify"

    def __init__(self, scores: Tensor | None = None, classes: Tensor | StringTensor | None = None) -> None:
        if scores is None and classes is None:
            raise ValueError("`ClassificationOutput` needs `scores`, `classes` or both. Received: neither.")
        if scores is not None and not (isinstance(scores, Tensor) and scores.is_floating_point()):
            raise ValueError(f"`scores` must be a floating point tensor. Received: {_describe(scores)}.")
        if classes is not None and not isinstance(classes, (Tensor, StringTensor)):
            raise ValueError(
                "`classes` must be a tensor of ids, or te.index_to_string(ids, vocabulary). "
                f"Received: {_describe(classes)}."
            )
        self.scores = scores
        self.classes = classes
        given: dict[str, Tensor | StringTensor | None] = {"scores": scores, "classes": classes}
        super().__init__({name: value for name, value in given.items() if value is not None})


class RegressionOutput(ExportOutput):
    """One predicted number (or row of numbers) per example.

    Args:
        value: [batch] or [batch, outputs] floating point.
    """

    method_name = "tensorflow/serving/regress"

    def __init__(self, value: Tensor) -> None:
        if not (isinstance(value, Tensor) and value.is_floating_point()):
            raise ValueError(f"`value` must be a floating point tensor. Received: {_describe(value)}.")
        self.value = value
        super().__init__({"outputs": value})


class PredictOutput(ExportOutput):
    """Any named tensors.

    Args:
        outputs: a dict of tensors, or one tensor, which is then called "output". A key that is
            a tuple, as the multi-head's predictions have, is joined with "/".
    """

    method_name = "tensorflow/serving/predict"

    def __init__(self, outputs: Tensor | StringTensor | Mapping[Any, Tensor | StringTensor]) -> None:
        named = {"output": outputs} if isinstance(outputs, (Tensor, StringTensor)) else outputs
        if not isinstance(named, Mapping):
            raise TypeError(f"`outputs` must be a tensor or a dict of tensors. Received: {_describe(outputs)}.")
        flat: dict[str, Tensor | StringTensor] = {}
        for key, value in named.items():
            name = _written(key)
            if not isinstance(name, str):
                raise ValueError(f"Keys of `outputs` must be strings. Received: {key!r}.")
            if not isinstance(value, (Tensor, StringTensor)):
                raise ValueError(f"Values of `outputs` must be tensors. Received: {name}={_describe(value)}.")
            flat[name] = value
        super().__init__(flat)


class EvalOutput(ExportOutput):
    """Loss, predictions and metrics of an exported evaluation signature.

    Args:
        loss: [] the loss.
        predictions: [batch, ...] a tensor, or a dict of such.
        metrics: current metric values by name.
    """

    method_name = "tensorflow/supervised/eval"

    def __init__(
        self,
        loss: Tensor | None = None,
        predictions: Tensor | StringTensor | Mapping[Any, Tensor | StringTensor] | None = None,
        metrics: Mapping[str, Tensor] | None = None,
    ) -> None:
        outputs: dict[str, Tensor | StringTensor] = {}
        if loss is not None:
            outputs["loss"] = loss
        if isinstance(predictions, (Tensor, StringTensor)):
            outputs["predictions"] = predictions
        elif predictions is not None:
            outputs.update({f"predictions/{_written(name)}": value for name, value in predictions.items()})
        if metrics is not None:
            outputs.update({f"metrics/{name}/value": value for name, value in metrics.items()})
        super().__init__(outputs)


def with_default_signature(
    export_outputs: Mapping[str, ExportOutput] | None,
    predictions: Tensor | StringTensor | Mapping[Any, Tensor | StringTensor],
) -> dict[str, ExportOutput]:
    """The export outputs with `serving_default` filled in, as the original does.

    None becomes one `PredictOutput` of all predictions. A single output under another name also
    becomes the default. Several without a default are an error.
    """
    if export_outputs is None:
        return {DEFAULT_SERVING_SIGNATURE: PredictOutput(predictions)}
    if not isinstance(export_outputs, Mapping):
        raise TypeError(
            "`export_outputs` must be a dict from signature name to an output such as te.export.PredictOutput. "
            f"Received: {type(export_outputs).__name__}."
        )
    for name, value in export_outputs.items():
        if not isinstance(value, ExportOutput):
            raise TypeError(
                "Values of `export_outputs` must be outputs such as te.export.PredictOutput(predictions). "
                f"Received: {name}={_describe(value)}."
            )
    outputs = dict(export_outputs)
    if DEFAULT_SERVING_SIGNATURE not in outputs and outputs:
        if len(outputs) > 1:
            raise ValueError(
                f'`export_outputs` has several signatures and none is the default. Name one "'
                f'{DEFAULT_SERVING_SIGNATURE}". Received: {sorted(outputs)}.'
            )
        outputs[DEFAULT_SERVING_SIGNATURE] = next(iter(outputs.values()))
    return outputs


def _written(key: Any) -> Any:
    return "/".join(map(str, key)) if isinstance(key, tuple) else key


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, shape {list(value.shape)}"
    if isinstance(value, torch.nn.Module):
        return f"a module {type(value).__name__}"
    return f"{type(value).__name__}"
