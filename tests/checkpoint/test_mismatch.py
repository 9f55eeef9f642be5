"""mismatch: one message with all that differs."""

import pytest
import torch

from torchestimator.checkpoint.mismatch import NameDifferences, compare, shorten

_STORED = {"w": (torch.float32, (3, 4)), "b": (torch.int64, (2,)), "extra": (torch.float32, ())}


def test_equal_sets_have_no_differences() -> None:
    targets = {"w": torch.zeros(3, 4), "b": torch.zeros(2, dtype=torch.int64), "extra": torch.tensor(0.0)}
    assert compare(targets, _STORED, "file", strict=True) == NameDifferences((), ())


def test_names_may_differ_unless_strict_and_shapes_may_not() -> None:
    targets = {"w": torch.zeros(3, 4, dtype=torch.bfloat16), "new": torch.zeros(1)}
    assert compare(targets, _STORED, "file", strict=False) == NameDifferences(("new",), ("b", "extra"))
    with pytest.raises(ValueError, match="another model") as caught:
        compare(targets, _STORED, "the file", strict=True)
    assert str(caught.value).splitlines()[:3] == [
        "the file holds the tensors of another model:",
        "  missing in the file: new",
        "  only in the file: b, extra",
    ]
    with pytest.raises(ValueError, match=r"b \(file: int64 \[2\], wanted: int32 \[2\]\)"):
        compare({"b": torch.zeros(2, dtype=torch.int32)}, _STORED, "file", strict=False)


def test_long_lists_are_cut() -> None:
    names = [f"n{index}" for index in range(1234)]
    assert shorten(names[:10]) == ", ".join(names[:10])
    assert shorten(names) == ", ".join(names[:10]) + ", and 1,224 more"
