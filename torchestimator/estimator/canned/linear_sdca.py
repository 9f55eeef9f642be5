"""LinearSDCA: training linear models by stochastic dual coordinate ascent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchestimator.estimator.canned.dual_ascent import (
    Array,
    DualAscent,
    SparseExamples,
    logistic_dual,
    squared_dual,
)
from torchestimator.feature_column import (
    CategoricalColumn,
    DenseColumn,
    FeatureColumn,
    FeatureTransformationCache,
    LinearModel,
)
from torchestimator.feature_column.layer import checked_columns
from torchestimator.feature_column.transformation import FeatureView
from torchestimator.head import BinaryClassHead, Head, MultiClassHead, RegressionHead
from torchestimator.model.frame import get_module
from torchestimator.tracing import is_eager
from torchestimator.train_op.description import OptimizerFn


class LinearSDCA:
    """An `optimizer` for linear models that needs no learning rate (tf.estimator.experimental.LinearSDCA).

        te.LinearClassifier(columns, optimizer=te.experimental.LinearSDCA("id", symmetric_l2_regularization=2.0))

    It keeps a number for each example under the example's id, and converges to the optimum of the regularised loss in
    few passes over the data (Shalev-Shwartz & Zhang 2013). For data that is seen several times, binary classes and
    regressions with one number. Other than for the other optimizers, the loss that is minimised is a sum over all
    examples of the data, whatever the `loss_reduction`, and the bias is regularised too. A step reads values, and so
    can't be captured.

    Args:
        example_id_column: name of the feature with the id of each example, a string or a whole number.
        num_loss_partitions: only 1: one process.
        num_table_shards: only None or 1: one table.
        symmetric_l1_regularization: 0 or more; makes weights of little use exactly zero.
        symmetric_l2_regularization: above 0; about the mean squared norm of an example is a good start.
        adaptive: only False: examples are taken in the order in which they come.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        example_id_column: str,
        num_loss_partitions: int = 1,
        num_table_shards: int | None = None,
        symmetric_l1_regularization: float = 0.0,
        symmetric_l2_regularization: float = 1.0,
        adaptive: bool = False,
    ) -> None:
        if not isinstance(example_id_column, str):
            raise TypeError(f"`example_id_column` must be the name of a feature. Received: {example_id_column!r}.")
        if num_loss_partitions != 1:
            raise ValueError(
                f"`num_loss_partitions` must be 1: the ascent runs in one process. Received: {num_loss_partitions!r}."
            )
        if num_table_shards not in (None, 1):
            raise ValueError(
                "`num_table_shards` must be None or 1: the table of examples is not cut into parts. "
                f"Received: {num_table_shards!r}."
            )
        if not symmetric_l1_regularization >= 0:
            raise ValueError(
                f"`symmetric_l1_regularization` must be 0 or more. Received: {symmetric_l1_regularization!r}."
            )
        if not symmetric_l2_regularization > 0:
            raise ValueError(
                "`symmetric_l2_regularization` must be above 0, since the duals are scaled by it. "
                f"Received: {symmetric_l2_regularization!r}."
            )
        if adaptive:
            raise ValueError(
                "`adaptive` must be False: examples are taken in the order in which input_fn gives them. "
                f"Received: {adaptive!r}. Shuffle in input_fn instead."
            )
        self.example_id_column = example_id_column
        self.l1 = float(symmetric_l1_regularization)
        self.l2 = float(symmetric_l2_regularization)

    def for_model(self, head: Head, feature_columns: Sequence[Any], sparse_combiner: str) -> "SDCATraining":
        """What trains one linear model.

        Args:
            head: of the model.
            feature_columns: likewise.
            sparse_combiner: likewise.

        Raises:
            ValueError: such a model can't be trained this way.
        """
        return SDCATraining(self, _checked_head(head), _checked_columns(feature_columns, sparse_combiner))


class SDCATraining:
    """Hands each batch of a linear model to the optimizer that ascends its dual.

    Args:
        options: the user's.
        head: of the model.
        columns: likewise.
    """

    def __init__(
        self, options: LinearSDCA, head: BinaryClassHead | RegressionHead, columns: list[FeatureColumn]
    ) -> None:
        self._options = options
        self._head = head
        self._columns = columns
        self._bias: nn.Parameter | None = None
        self._examples: SparseExamples | None = None

    @property
    def optimizer_fn(self) -> OptimizerFn:
        """Makes the optimizer, for `te.minimize`; `take` must have been called before."""

        def make(params: list[nn.Parameter]) -> torch.optim.Optimizer:
            update = logistic_dual if isinstance(self._head, BinaryClassHead) else squared_dual
            assert self._bias is not None
            return DualAscent(params, self._bias, update, self._options.l1, self._options.l2, self._next)

        return make

    @torch.no_grad()
    def take(self, prefix: str, cache: FeatureTransformationCache, logits: Tensor, features: Any, labels: Any) -> None:
        """Takes in the batch of the step that follows; called in model_fn.

        Args:
            prefix: the scope of the module "linear_model", whose weights are trained.
            cache: the batch, with what the model has computed of it.
            logits: [batch, 1] the model's.
            features: of the batch.
            labels: [batch] or [batch, 1].

        Raises:
            RuntimeError: the step is being captured.
            ValueError: labels, weights or ids do not fit.
            TypeError: ids are neither strings nor whole numbers.
        """
        if not is_eager(logits):
            raise RuntimeError(
                "LinearSDCA goes through the examples one by one, which can't be captured. "
                "Leave `compile` out of te.RunConfig, or use another `optimizer`."
            )
        model = get_module(f"{prefix}linear_model", lambda: LinearModel(self._columns))
        self._bias = model.bias_weights
        scored = self._head.score(features, logits, labels)
        batch = logits.shape[0]
        numbers = _numbers(scored.labels)
        self._examples = _examples(
            ids=self._ids(cache, batch),
            labels=2 * numbers - 1 if isinstance(self._head, BinaryClassHead) else numbers,
            weights=np.ones(batch) if scored.weights is None else _numbers(scored.weights),
            entries=[self._entries(model, model.view(cache), column) for column in self._columns]
            + [(model.bias_weights, torch.zeros(batch, 1, dtype=torch.int64), torch.ones(batch, 1))],
        )

    def _next(self) -> SparseExamples:
        assert self._examples is not None
        return self._examples

    def _ids(self, cache: FeatureTransformationCache, batch: int) -> Array:
        name = self._options.example_id_column
        ids = torch.as_tensor(cache.raw(name))
        if ids.dtype.is_floating_point or ids.is_complex() or ids.dtype == torch.bool:
            raise TypeError(
                f"The feature {name!r} (`example_id_column`) must be strings or whole numbers. Received: {ids.dtype}."
            )
        if ids.numel() != batch:
            raise ValueError(
                f"The feature {name!r} (`example_id_column`) must have one id per example: shape {[batch]}. "
                f"Received: shape {list(ids.shape)}."
            )
        return ids.reshape(-1).to("cpu", torch.int64).numpy()

    @staticmethod
    def _entries(model: LinearModel, view: FeatureView, column: FeatureColumn) -> tuple[nn.Parameter, Tensor, Tensor]:
        """A column's weights, and [batch, k] rows in them with [batch, k] values."""
        module = model.weights_of(column.name)
        assert module is not None
        weights = module.get_parameter("weights")
        if isinstance(column, CategoricalColumn):
            found = view.counted_ids(column)
            values = torch.ones(found.ids.shape, device=found.ids.device) if found.weights is None else found.weights
            return weights, found.ids, values if found.absent is None else values.masked_fill(found.absent, 0)
        assert isinstance(column, DenseColumn)
        values = column.dense_tensor(view, None).flatten(1)
        return weights, torch.arange(values.shape[1]).expand(values.shape), values


def _examples(
    ids: Array, labels: Array, weights: Array, entries: list[tuple[nn.Parameter, Tensor, Tensor]]
) -> SparseExamples:
    """Sorts the entries of all columns by example, with those of one weight in one example summed."""
    rows: dict[nn.Parameter, tuple[Array, slice]] = {}
    owners, places, values = [], [], []
    total = 0
    for parameter, where, numbers in entries:
        value = numbers.to("cpu", torch.float64).numpy()
        owner, position = value.nonzero()
        used, place = np.unique(where.cpu().numpy()[owner, position], return_inverse=True)
        rows[parameter] = (used, slice(total, total + len(used)))
        owners.append(owner)
        places.append(place.reshape(-1) + total)
        values.append(value[owner, position])
        total += len(used)
    key = np.concatenate(owners) * total + np.concatenate(places)
    distinct, inverse = np.unique(key, return_inverse=True)
    summed = np.bincount(inverse.reshape(-1), np.concatenate(values), len(distinct))
    starts = np.searchsorted(distinct, np.arange(len(ids) + 1) * total)
    return SparseExamples(ids, labels, weights, starts, distinct % total, summed, rows)


def _numbers(values: Tensor) -> Array:
    """[batch, 1] -> [batch] float64."""
    return values.reshape(-1).to("cpu", torch.float64).numpy()


def _checked_head(head: Head) -> BinaryClassHead | RegressionHead:
    if isinstance(head, MultiClassHead):
        raise ValueError(
            "LinearSDCA trains two classes, or regressions, not more classes. "
            f"Received: n_classes={head.logits_dimension}. Use another `optimizer`, such as 'Ftrl'."
        )
    if not isinstance(head, BinaryClassHead) and type(head) is not RegressionHead:
        raise ValueError(
            f"LinearSDCA trains models with a BinaryClassHead or a RegressionHead. Received: {type(head).__name__}."
        )
    if head.logits_dimension != 1:
        raise ValueError(
            "LinearSDCA trains regressions of one number. "
            f"Received: label_dimension={head.logits_dimension}. Use another `optimizer`, or one model for each number."
        )
    if head._loss_fn is not None:
        raise ValueError("LinearSDCA knows the logistic and the squared loss alone. Received: a head with a `loss_fn`.")
    return head


def _checked_columns(feature_columns: Sequence[Any], sparse_combiner: str) -> list[FeatureColumn]:
    if sparse_combiner != "sum":
        raise ValueError(f"With LinearSDCA, `sparse_combiner` must be 'sum'. Received: {sparse_combiner!r}.")
    columns = checked_columns(feature_columns)
    for column in columns:
        if isinstance(column, DenseColumn) and column.make_weights() is not None:
            raise ValueError(
                "LinearSDCA trains weighted sums of features alone, not weights inside a column. "
                f"Received: {column.name!r} ({type(column).__name__}). Use the categorical column itself."
            )
    return columns
