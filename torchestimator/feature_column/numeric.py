"""numeric_column: real numbers as they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchestimator.feature_column.category_type import check_likely_numbers
from torchestimator.feature_column.column import DenseColumn, ParseSpec, check_key
from torchestimator.feature_column.transformation import FeatureView
from torchestimator.io.feature_spec import FixedLenFeature
from torchestimator.tracing import sizes

Normalizer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class NumericColumn(DenseColumn):
    """Numbers of a feature; see `numeric_column`."""

    key: str
    """The feature."""
    shape: tuple[int, ...]
    """Of one example."""
    default_value: tuple[float, ...] | None
    """For tf.Examples without the feature, a value for each place; None: missing is an error."""
    dtype: torch.dtype
    """How tf.Examples hold it."""
    normalizer_fn: Normalizer | None
    """Applied to the feature before all else."""

    @property
    def name(self) -> str:
        return self.key

    @property
    def variable_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def parse_example_spec(self) -> ParseSpec:
        kind = torch.float32 if self.dtype.is_floating_point else torch.int64
        default = None if self.default_value is None else np.reshape(self.default_value, self.shape)
        if default is not None and kind is torch.int64:
            default = default.astype(np.int64)
        return {self.key: FixedLenFeature(self.shape, kind, default)}

    def check(self, view: FeatureView) -> None:
        check_likely_numbers(view.cache.dense(self.key), self.key)

    def dense_tensor(self, view: FeatureView, weights: nn.Module | None = None) -> Tensor:  # noqa: ARG002
        """[batch, values] float32."""
        place = "numeric", self.identity
        found: Tensor | None = view.cache.computed.get(place)
        if found is None:
            found = view.cache.computed[place] = self._numbers(view.cache.dense(self.key))
        return found

    def _numbers(self, values: Tensor) -> Tensor:
        if self.normalizer_fn is not None:
            values = self.normalizer_fn(values)
        if values.is_complex():
            raise TypeError(f"The feature {self.key!r} must be real numbers. Received: {values.dtype}.")
        values = values.to(torch.float32)
        if values.dim() != 2:
            values = values.flatten(1)
        width = math.prod(self.shape)
        if sizes(values)[1] != width:
            raise ValueError(
                f"numeric_column({self.key!r}) has the shape {self.shape}, that is, {width} values in each example. "
                f"Received: a feature of shape {list(values.shape)}. "
                f"Write: numeric_column({self.key!r}, shape=({values.shape[1]},))"
            )
        return values


def numeric_column(
    key: str,
    shape: Any = (1,),
    default_value: Any = None,
    dtype: torch.dtype | str = torch.float32,
    normalizer_fn: Normalizer | None = None,
) -> NumericColumn:
    """Real numbers as they are (tf.feature_column.numeric_column).

    Args:
        key: the feature: [batch, *shape], or [batch] where that is one value.
        shape: of one example; a number n is (n,).
        default_value: stands for the feature in tf.Examples that lack it, one value or one for each place; features in
            memory must be there.
        dtype: how tf.Examples hold it: any float or integer dtype. The layers compute with float32.
        normalizer_fn: applied to the feature before all else, such as `lambda x: (x - 3) / 4.2`. It must be torch
            operations, so that it is part of exported models.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the shape has no positive sizes, or the default does not fit it.
    """
    sizes = _shape(shape)
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or kind.is_complex or kind is torch.bool:
        raise ValueError(
            f"`dtype` of numeric_column must be a float or integer dtype, such as torch.float32. Received: {dtype!r}. "
            "For strings use a categorical column."
        )
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise TypeError(f"`normalizer_fn` must be a function of a tensor. Received: {normalizer_fn!r}.")
    default = None if default_value is None else default_values(default_value, sizes)
    return NumericColumn(check_key(key, "numeric_column"), sizes, default, kind, normalizer_fn)


def default_values(default_value: Any, shape: tuple[int, ...]) -> tuple[float, ...]:
    """A default as one value for each place.

    Raises:
        ValueError: these are no numbers, or not as many as the shape has places.
    """
    given = np.asarray(default_value)
    if given.dtype.kind not in "biuf" or given.shape not in {(), shape}:
        raise ValueError(
            f"`default_value` must be one number, or numbers of the shape {shape}. Received: {default_value!r}."
        )
    return tuple(np.broadcast_to(given, shape).ravel().tolist())


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape) if isinstance(shape, list | tuple) else None
    if sizes is None or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            "`shape` of a numeric column must list sizes of 1 or more, without the batch: (3,) for three values in "
            f"each example. Received: {shape!r}."
        )
    return sizes or (1,)
