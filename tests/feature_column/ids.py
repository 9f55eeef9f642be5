"""What the tests of columns look at: the ids of features."""

from torchestimator.feature_column.transformation import ColumnTables, FeatureTransformationCache, FeatureView


def ids_of(column, features):
    """The ids that count of each example, as lists; -1 of values that have no id."""
    found = FeatureView(FeatureTransformationCache(features), ColumnTables([column])).ids(column)
    absent = found.ids != found.ids if found.absent is None else found.absent
    pairs = zip(found.ids.tolist(), absent.tolist(), strict=True)
    return [[one for one, is_absent in zip(row, gone, strict=True) if not is_absent] for row, gone in pairs]


def flat_ids_of(column, features):
    """The only id of each example."""
    return [one for (one,) in ids_of(column, features)]
