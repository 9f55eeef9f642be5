"""The head of a classifier, by its number of classes."""

from torchestimator.head.binary_class import BinaryClassHead
from torchestimator.head.classes import LabelVocabulary
from torchestimator.head.multi_class import MultiClassHead
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.weights import WeightColumn


def binary_or_multi_class_head(
    n_classes: int,
    weight_column: WeightColumn | None = None,
    label_vocabulary: LabelVocabulary | None = None,
    loss_reduction: str = SUM_OVER_BATCH_SIZE,
) -> BinaryClassHead | MultiClassHead:
    """The head that the ready-made classifiers use: one logit for two classes, else one for each class.

    Args:
        n_classes: at least 2.
        weight_column, label_vocabulary, loss_reduction: as for the heads.

    Raises:
        ValueError: `n_classes` is below 2, or another argument is not allowed.
    """
    if n_classes == 2:
        return BinaryClassHead(
            weight_column=weight_column, label_vocabulary=label_vocabulary, loss_reduction=loss_reduction
        )
    return MultiClassHead(
        n_classes, weight_column=weight_column, label_vocabulary=label_vocabulary, loss_reduction=loss_reduction
    )
