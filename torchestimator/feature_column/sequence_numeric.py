"""sequence_numeric_column: sequences of real numbers or vectors."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from torchestimator.feature_column.category_type import check_likely_numbers
from torchestimator.feature_column.column import FeatureColumn, ParseSpec, Sequence, SequenceColumn
from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.numeric import Normalizer, numeric_column
from torchestimator.feature_column.sequence_lengths import lengths_of
from torchestimator.feature_column.transformation import FeatureView
from torchestimator.io.feature_spec import VarLenFeature
from torchestimator.tracing import sizes


@dataclass(frozen=True)
class SequenceNumericColumn(FeatureColumn, SequenceColumn):
    """Sequences of numbers; see `sequence_numeric_column`."""

    key: str
    """The feature."""
    shape: tuple[int, ...]
    """Of one step."""
    default_value: float
    """Fills up shorter sequences."""
    dtype: torch.dtype
    """How tf.Examples hold it."""
    normalizer_fn: Normalizer | None
    """Applied to the values before all else."""

    @property
    def name(self) -> str:
        return self.key

    @property
    def is_sequence(self) -> bool:
        return True

    @property
    def variable_shape(self) -> tuple[int, ...]:
        """Shape of the values of one step."""
        return self.shape

    @property
    def parse_example_spec(self) -> ParseSpec:
        return {self.key: VarLenFeature(torch.float32 if self.dtype.is_floating_point else torch.int64)}

    def check(self, view: FeatureView) -> None:
        check_likely_numbers(view.cache.values(self.key, keep_places=True).values, self.key)

    def sequence_tensor(self, view: FeatureView, weights: nn.Module | None = None) -> Sequence:  # noqa: ARG002
        given, absent = view.cache.values(self.key, keep_places=True)
        values = given if self.normalizer_fn is None else self.normalizer_fn(given)
        values = values.to(torch.float32)
        if absent is not None:
            mask = absent if values.dim() == 2 else absent.unsqueeze(2)
            values = values.masked_fill(mask, self.default_value)
        return self._steps(FeatureValues(values, absent))

    def _steps(self, numbers: FeatureValues) -> Sequence:
        """Makes steps of flat values, so many to each step as its shape has places."""
        values, absent = numbers
        size = math.prod(self.shape)
        lengths = lengths_of(values, absent)
        if values.dim() > 2:
            if math.prod(sizes(values)[2:]) != size:
                raise ValueError(
                    f"sequence_numeric_column({self.key!r}) has steps of shape {self.shape}. "
                    f"Received: a feature of shape {list(values.shape)}, that is, [batch, steps, ...]."
                )
            return Sequence(torch.unflatten(values.flatten(2), 2, self.shape), lengths)
        lacking = -sizes(values)[1] % size
        if lacking:
            values = F.pad(values, (0, lacking), value=self.default_value)
        return Sequence(torch.unflatten(values, 1, (-1, *self.shape)), (lengths + (size - 1)) // size)


def sequence_numeric_column(
    key: str,
    shape: Any = (1,),
    default_value: float = 0.0,
    dtype: torch.dtype | str = torch.float32,
    normalizer_fn: Normalizer | None = None,
) -> SequenceNumericColumn:
    """Sequences of numbers or vectors (tf.feature_column.sequence_numeric_column).

    Args:
        key: the feature: [batch, values], sparse, nested or ragged, with all values of a sequence one after another; or
            [batch, steps, values of a step].
        shape: of one step; with (2,) the values 1, 2, 3, 4 are two steps.
        default_value: fills up shorter sequences.
        dtype: how tf.Examples hold it: any float or integer dtype. The layers compute with float32.
        normalizer_fn: applied to the values before all else. It must be torch operations.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the shape has no positive sizes, or the default is no number.
    """
    if isinstance(default_value, bool) or not isinstance(default_value, int | float):
        raise ValueError(f"`default_value` of sequence_numeric_column must be a number. Received: {default_value!r}.")
    column = numeric_column(key, shape, None, dtype, normalizer_fn)
    return SequenceNumericColumn(column.key, column.shape, float(default_value), column.dtype, normalizer_fn)
