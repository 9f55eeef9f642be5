"""The head by the number of classes."""

import pytest

from torchestimator.head import BinaryClassHead, MultiClassHead, binary_or_multi_class_head


def test_two_classes_have_one_logit():
    two = binary_or_multi_class_head(2, None, ["no", "yes"], "sum")
    assert isinstance(two, BinaryClassHead)
    assert (two.logits_dimension, two.loss_reduction) == (1, "sum")
    more = binary_or_multi_class_head(4, "w", None, "auto")
    assert isinstance(more, MultiClassHead)
    assert (more.logits_dimension, more.loss_reduction) == (4, "auto")
    with pytest.raises(ValueError, match="n_classes=1"):
        binary_or_multi_class_head(1)
