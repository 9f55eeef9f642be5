"""Recurrent networks over sequence columns."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchestimator import optim
from torchestimator.config import RunConfig
from torchestimator.estimator.canned.arguments import check_head
from torchestimator.estimator.canned.layers import Dense
from torchestimator.estimator.canned.recurrent_cells import (
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    carried,
    checked_cell,
    last_valid,
    recur,
    with_a_step,
)
from torchestimator.estimator.estimator import Estimator
from torchestimator.feature_column import DenseFeatures, FeatureTransformationCache, SequenceFeatures
from torchestimator.head import Head, SequentialHeadWrapper, binary_or_multi_class_head
from torchestimator.head.example_head import ExampleHead
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.model.frame import get_module, name_scope
from torchestimator.optim import default_rates
from torchestimator.spec import EstimatorSpec

SCOPE = "rnn_model"

SIMPLE_RNN = "simple_rnn"

_CELL_TYPES: dict[str, Callable[[int, int], nn.Module]] = {
    SIMPLE_RNN: SimpleRNNCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
}

CellMaker = Callable[[int], nn.Module]
"""From the width of the inputs to a cell."""


class RNNEstimator(Estimator):
    """A recurrent network with any head (tf.estimator.experimental.RNNEstimator).

    The steps of all sequence columns, and the context at each of them, run through recurrent cells; a dense layer makes
    logits of the last output of each sequence, or of every output. Sequences of one batch may differ in length: what
    comes after the end of a sequence changes nothing.

    The loop over the steps is unrolled where a model is captured or exported. A captured step is compiled for each
    number of steps that occurs, so pad to a few lengths; an exported model takes any batch size but the number of steps
    that its serving features are declared with.

    Args:
        head: what the logits mean. With `return_sequences`, a `SequentialHeadWrapper`.
        sequence_feature_columns: numeric, embedding and indicator columns whose names begin with `sequence_`.
        context_feature_columns: dense columns, which are the same at every step.
        units: sizes of stacked layers, from the inputs on; or one size.
        cell_type: "simple_rnn", "lstm" or "gru", or a function from the width of the inputs and the units to a cell.
            None: "simple_rnn".
        rnn_cell_fn: instead of the two: a function from the width of the inputs to a cell, such as
            `lambda width: torch.nn.GRUCell(width, 32)`. A cell of one's own is an nn.Module with `state_size`, the
            width of its state or a tuple of several, and `forward(inputs, states) -> (outputs, states)`, where inputs
            are [batch, width] and states a tuple of [batch, size], zeros at first.
        return_sequences: whether there are logits at every step.
        model_dir: folder of checkpoints and summaries.
        optimizer: a name ('Adagrad', 'Adam', 'Ftrl', 'RMSProp', 'SGD'; learning rate 0.05, and each parameter's
            gradient is scaled down to the norm 5), or a function from parameters to a torch optimizer.
        config: a `te.RunConfig`.

    Raises:
        ValueError: an argument is out of range, or does not go with another one.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        head: Head,
        sequence_feature_columns: Any,
        context_feature_columns: Any = None,
        units: int | Sequence[int] | None = None,
        cell_type: str | Callable[[int, int], nn.Module] | None = None,
        rnn_cell_fn: CellMaker | None = None,
        return_sequences: bool = False,
        model_dir: str | os.PathLike[str] | None = None,
        optimizer: Any = "Adagrad",
        config: RunConfig | None = None,
    ) -> None:
        check_head(head)
        _check_sequences(head, return_sequences)
        layers = _layers(units, cell_type, rnn_cell_fn)
        SequenceFeatures(sequence_feature_columns)  # looks at them now rather than in the first step
        if context_feature_columns:
            DenseFeatures(context_feature_columns)
        optimizer_fn = optim.get(optimizer, default_rates.RNN, default_rates.RNN_CLIPNORM)

        def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            inputs, lengths = _inputs(
                FeatureTransformationCache(features), sequence_feature_columns, context_feature_columns
            )
            outputs = with_a_step(inputs)
            with name_scope(SCOPE):
                for name, make in layers:
                    outputs = recur(_cell(name, make, outputs.shape[2]), outputs)
                steps = inputs.shape[1]
                outputs = carried(outputs[:, :steps], lengths) if return_sequences else last_valid(outputs, lengths)
                logits: Tensor = get_module("logits", lambda: Dense(outputs.shape[-1], head.logits_dimension))(outputs)
            if isinstance(head, SequentialHeadWrapper):
                mask = torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)
                features = {**features, head.input_sequence_mask_key: mask}
            return head.create_estimator_spec(features, mode, logits, labels, optimizer_fn)

        super().__init__(model_fn, model_dir, config)


class RNNClassifier(RNNEstimator):
    """A recurrent classifier of sequences, or of their steps (tf.estimator.experimental.RNNClassifier).

    Args:
        sequence_feature_columns: see `te.experimental.RNNEstimator`.
        context_feature_columns: likewise.
        units: likewise.
        cell_type: likewise.
        rnn_cell_fn: likewise.
        return_sequences: whether every step is classified, with labels [batch, steps]; else the sequence is.
        model_dir: see `te.experimental.RNNEstimator`.
        n_classes: number of classes; labels are ids below it.
        weight_column: the feature that holds each example's weight, by name or as a numeric column; with
            `return_sequences` the weight of each step, [batch, steps].
        label_vocabulary: label strings, if labels are strings: their ids are their places in it.
        optimizer: see `te.experimental.RNNEstimator`.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        sequence_mask: with `return_sequences`, the name of the prediction [batch, steps] that is true where there is a
            step.
        config: see `te.experimental.RNNEstimator`.

    Raises:
        ValueError: an argument is out of range, or does not go with another one.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        sequence_feature_columns: Any,
        context_feature_columns: Any = None,
        units: int | Sequence[int] | None = None,
        cell_type: str | Callable[[int, int], nn.Module] | None = None,
        rnn_cell_fn: CellMaker | None = None,
        return_sequences: bool = False,
        model_dir: str | os.PathLike[str] | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        optimizer: Any = "Adagrad",
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        sequence_mask: str = "sequence_mask",
        config: RunConfig | None = None,
    ) -> None:
        head: Head = binary_or_multi_class_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        if return_sequences:
            assert isinstance(head, ExampleHead)
            head = SequentialHeadWrapper(head, sequence_mask, head.weight_key)
        super().__init__(
            head,
            sequence_feature_columns,
            context_feature_columns,
            units,
            cell_type,
            rnn_cell_fn,
            return_sequences,
            model_dir,
            optimizer,
            config,
        )


def _inputs(cache: FeatureTransformationCache, sequence_columns: Any, context_columns: Any) -> tuple[Tensor, Tensor]:
    """[batch, steps, width] the values of each step with the context behind them, and [batch] lengths."""
    values, lengths = get_module("sequence_features", lambda: SequenceFeatures(sequence_columns))(cache)
    if context_columns:
        context = get_module("dense_features", lambda: DenseFeatures(context_columns))(cache)
        values = torch.cat([values, context.unsqueeze(1).expand(-1, values.shape[1], -1)], 2)
    return values, lengths


def _cell(name: str, make: CellMaker, width: int) -> nn.Module:
    return get_module(name, lambda: checked_cell(make(width)))


def _layers(units: Any, cell_type: Any, rnn_cell_fn: CellMaker | None) -> list[tuple[str, CellMaker]]:
    """The stacked layers: the scoped name of each cell, which is TensorFlow's, and how it is made."""
    if rnn_cell_fn is not None:
        if units is not None or cell_type is not None:
            raise ValueError(
                "`rnn_cell_fn` makes the cell by itself, so `units` and `cell_type` must not be given beside it. "
                f"Received: units={units!r}, cell_type={cell_type!r}."
            )
        if not callable(rnn_cell_fn) or isinstance(rnn_cell_fn, nn.Module):
            raise TypeError(
                "`rnn_cell_fn` must be a function from the width of the inputs to a cell. "
                f"Received: {rnn_cell_fn!r}. Write: rnn_cell_fn=lambda width: torch.nn.GRUCell(width, 32)"
            )
        return [("rnn/cell", rnn_cell_fn)]
    sizes = _checked_units(units)
    make, cell_name = _cell_maker(cell_type)
    if isinstance(units, int):
        # Keras's whole layers, such as LSTM, are named after their kind; a list of cells runs in its layer RNN.
        layer = "rnn" if cell_name == "cell" else cell_name.removesuffix("_cell")
        return [(f"{layer}/{cell_name}", lambda width: make(width, sizes[0]))]
    if len(sizes) == 1:
        return [(f"rnn/{cell_name}", lambda width: make(width, sizes[0]))]
    return [
        (
            f"rnn/stacked_rnn_cells/{cell_name}" + (f"_{index}" if index else ""),
            lambda width, size=size: make(width, size),  # type: ignore[misc]
        )
        for index, size in enumerate(sizes)
    ]


def _cell_maker(cell_type: Any) -> tuple[Callable[[int, int], nn.Module], str]:
    kind = SIMPLE_RNN if cell_type is None else cell_type
    if isinstance(kind, str) and kind in _CELL_TYPES:
        return _CELL_TYPES[kind], f"{kind}_cell"
    if callable(kind) and not isinstance(kind, nn.Module):
        return kind, "cell"
    raise ValueError(
        f"`cell_type` must be one of {list(_CELL_TYPES)}, or a function from the width of the inputs and the units to "
        f"a cell, such as torch.nn.GRUCell. Received: {cell_type!r}."
    )


def _checked_units(units: Any) -> list[int]:
    if units is None:
        raise ValueError("Give either `units` or `rnn_cell_fn`. Received: neither. Write: units=[32], cell_type='lstm'")
    sizes = [units] if isinstance(units, int) else list(units) if isinstance(units, Sequence) else []
    if not sizes or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(
            "`units` must be a whole number above 0, or a list of such, one for each stacked layer. "
            f"Received: {units!r}."
        )
    return sizes


def _check_sequences(head: Head, return_sequences: bool) -> None:
    is_sequential = isinstance(head, SequentialHeadWrapper)
    if return_sequences and not is_sequential:
        raise ValueError(
            "With `return_sequences` there are logits at every step, and `head` must be one for steps. "
            f"Received: {type(head).__name__}. Write: te.head.SequentialHeadWrapper({type(head).__name__}(...))"
        )
    if is_sequential and not return_sequences:
        raise ValueError(
            f"`head` is one for steps, and there is one row of logits per sequence. Received: {type(head).__name__} "
            "without `return_sequences`. Write: return_sequences=True"
        )
