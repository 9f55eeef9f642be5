"""crossed_column: combinations of categories, by their hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from torchestimator.feature_column.column import CategoricalColumn, ParseSpec
from torchestimator.feature_column.hash_bucket import HashedCategoricalColumn, check_bucket_size
from torchestimator.feature_column.hashing import crossed_with, mixed_for_cross, signed, unsigned_remainder
from torchestimator.feature_column.parse_example_spec import merge_parse_specs
from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.feature_column.weighted import WeightedCategoricalColumn
from torchestimator.io.feature_spec import VarLenFeature
from torchestimator.tracing import sizes

_HASH_KEY = 0xDECAFCAFFE
"""TensorFlow's."""

Leaf: TypeAlias = str | CategoricalColumn


@dataclass(frozen=True)
class CrossedColumn(CategoricalColumn):
    """Combinations of categories; see `crossed_column`."""

    keys: tuple[Leaf, ...]
    """Features by name, or categorical columns."""
    hash_bucket_size: int
    """How many ids there are."""
    hash_key: int | None
    """What the hash starts from; None: TensorFlow's."""

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The keys, with crosses among them replaced by their own."""
        nested = [key.leaves if isinstance(key, CrossedColumn) else (key,) for key in self.keys]
        return tuple(leaf for leaves in nested for leaf in leaves)

    @property
    def ordered_leaves(self) -> tuple[Leaf, ...]:
        """The leaves as they are hashed where all features are ordinary tensors.

        TensorFlow hashes its sparse inputs first, which all but the ordinary tensors of named features are.
        """
        return tuple(sorted(self.leaves, key=lambda leaf: isinstance(leaf, str)))

    @property
    def start(self) -> int:
        """The fingerprint that the hash starts from, as an int64."""
        return signed(_HASH_KEY if self.hash_key is None else self.hash_key)

    @property
    def name(self) -> str:
        return "_X_".join(sorted(leaf if isinstance(leaf, str) else leaf.name for leaf in self.leaves))

    @property
    def parents(self) -> tuple[CategoricalColumn, ...]:
        return tuple(leaf for leaf in self.leaves if not isinstance(leaf, str))

    @property
    def num_buckets(self) -> int:
        return self.hash_bucket_size

    @property
    def parse_example_spec(self) -> ParseSpec:
        return merge_parse_specs(
            {leaf: VarLenFeature(str)} if isinstance(leaf, str) else leaf.parse_example_spec for leaf in self.leaves
        )

    def identify(self, view: FeatureView) -> CategoryIds:
        leaves = [self._mixed(leaf, view) for leaf in self.leaves]
        # As in `ordered_leaves`, but a named feature may be sparse as well.
        ordered = [leaf for leaf in leaves if not leaf[2]] + [leaf for leaf in leaves if leaf[2]]
        crossed: Tensor | int = self.start
        absent: Tensor | None = None
        for mixed, is_absent, _ in ordered:
            if isinstance(crossed, int):
                crossed, absent = crossed_with(crossed, mixed), is_absent
                continue
            size, other_size = sizes(crossed)[1], sizes(mixed)[1]
            absent = _pairs(absent, is_absent, size, other_size)
            if size == 1 or other_size == 1:
                crossed = crossed_with(crossed, mixed)
            else:
                crossed = crossed_with(crossed.unsqueeze(2), mixed.unsqueeze(1)).flatten(1)
        assert isinstance(crossed, Tensor)
        return CategoryIds(unsigned_remainder(crossed, self.hash_bucket_size), absent, are_total=True)

    def _mixed(self, leaf: Leaf, view: FeatureView) -> tuple[Tensor, Tensor | None, bool]:
        """The values to hash, prepared for it; where there are none; and whether it is a named ordinary tensor."""
        place = ("mixed", leaf if isinstance(leaf, str) else leaf.identity)
        found: tuple[Tensor, Tensor | None, bool] | None = view.cache.computed.get(place)
        if found is None:
            if isinstance(leaf, str):
                values = view.cache.values(leaf)
                found = mixed_for_cross(_whole(values.values, leaf)), values.absent, values.absent is None
            else:
                ids = view.ids(leaf)
                found = mixed_for_cross(ids.ids), ids.absent, False
            view.cache.computed[place] = found
        return found


def crossed_column(
    keys: Sequence[str | CategoricalColumn], hash_bucket_size: int, hash_key: int | None = None
) -> CrossedColumn:
    """Combinations of categories, by their hash (tf.feature_column.crossed_column).

    An example has an id for each combination of its values. The ids are TensorFlow's: they depend on the order of the
    keys, but named features in ordinary tensors come after all others. In these "" and -1 are values like others, and
    so are values outside of a vocabulary.

    Args:
        keys: two or more: features by name, which must be strings or whole numbers, or categorical columns. Numbers are
            crossed as a bucketized_column, and crosses by their own keys.
        hash_bucket_size: how many ids there are.
        hash_key: what the hash starts from; None: what TensorFlow's does.

    Raises:
        TypeError: a key is something else.
        ValueError: there are fewer than two keys, or the size is no positive number.
    """
    if isinstance(keys, str) or not isinstance(keys, Sequence) or len(keys) < 2:
        raise ValueError(
            f"`keys` of crossed_column must list two or more features or categorical columns. Received: {keys!r}."
        )
    for key in keys:
        _check(key)
    if hash_key is not None and (not isinstance(hash_key, int) or not 0 <= hash_key < 1 << 64):
        raise ValueError(f"`hash_key` of crossed_column must be a whole number of 64 bits. Received: {hash_key!r}.")
    return CrossedColumn(tuple(keys), check_bucket_size(hash_bucket_size, "crossed_column"), hash_key)


def _check(key: Any) -> None:
    advice = "Pass the name of the feature instead"
    if isinstance(key, HashedCategoricalColumn):
        raise TypeError(
            "`keys` of crossed_column can't have a hash bucket column, since hashing twice only adds collisions. "
            f"Received: {key.name!r}. {advice}: crossed_column([{key.key!r}, ...], ...)"
        )
    if isinstance(key, WeightedCategoricalColumn):
        raise TypeError(
            "`keys` of crossed_column can't have weights, since a combination has none. "
            f"Received: {key.name!r}. Pass the column without them."
        )
    if not isinstance(key, str | CategoricalColumn) or (isinstance(key, CategoricalColumn) and key.is_sequence):
        raise TypeError(
            "`keys` of crossed_column must be names of features or categorical columns. "
            f"Received: {key!r}. Cross numbers by their ranges: bucketized_column(numeric_column(...), [...])"
        )


def _whole(values: Tensor, key: str) -> Tensor:
    if values.dim() != 2:
        raise ValueError(
            f"The feature {key!r} must have the shape [batch] or [batch, k] to be crossed. "
            f"Received: {list(values.shape)}."
        )
    return values.long()


def _pairs(absent: Tensor | None, others: Tensor | None, size: int, other_size: int) -> Tensor | None:
    """Which of all pairs, [batch, size * other_size], lack one of the two."""
    if absent is not None and others is not None:
        return absent | others if size == other_size == 1 else (absent.unsqueeze(2) | others.unsqueeze(1)).flatten(1)
    if absent is not None:
        return absent if other_size == 1 else absent.unsqueeze(2).expand(-1, -1, other_size).flatten(1)
    if others is not None:
        return others if size == 1 else others.unsqueeze(1).expand(-1, size, -1).flatten(1)
    return None
