"""Errors of torch's exporters, told so that the user knows what to change."""

import numpy as np
import pytest
import torch

from torchestimator.export.conversion_error import ALTERNATIVES, ExportError, explained, lacking_operator


def error_of(function, **shapes):
    """What torch.export says about a function of x [batch, 4]."""

    class Module(torch.nn.Module):
        def forward(self, x):
            return function(x)

    with pytest.raises(Exception) as caught:
        torch.export.export(
            Module(), (), {"x": torch.ones(2, 4)}, dynamic_shapes={"x": {0: torch.export.Dim("batch")}}, strict=False
        )
    return caught.value


def if_value(x):
    return x if x.sum() > 0 else -x


def item(x):
    return torch.zeros(int(x.sum().item()) + 1) if x.max().item() > 2 else x


def fixed(x):
    return x.reshape(int(x.shape[0]), 4)


def numpy(x):
    return torch.from_numpy(np.asarray(x.numpy()))


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (if_value, r"reads the value of a tensor .*torch.where\(condition, a, b\) instead of `if`"),
        (item, r"reads the value of a tensor"),
        (fixed, r"makes the size of a dimension a constant.*x.shape\[0\] as it is instead of int\(x.shape\[0\]\)"),
        (numpy, r"leaves torch for NumPy.*Use torch operations"),
    ],
)
def test_frequent_reasons_have_a_remedy(function, remedy):
    found = explained(error_of(function), "torch.export of the signature 'a'")
    assert isinstance(found, ExportError)
    assert isinstance(found, ValueError)
    with pytest.raises(ExportError, match=rf"^torch.export of the signature 'a' failed at .*{remedy}.*\.$"):
        raise found


def test_the_line_of_the_user_is_named():
    assert "test_conversion_error.py, line" in str(explained(error_of(if_value), "It"))
    assert "`return x if x.sum() > 0 else -x`" in str(explained(error_of(if_value), "It"))
    found = str(explained(error_of(fixed), "It", lambda: "model.py, line 3, `size = int(n)`"))
    assert found.startswith("It failed at model.py, line 3, `size = int(n)`: it makes the size")
    other = str(explained(error_of(if_value), "It", lambda: "nowhere"))
    assert "nowhere" not in other


def test_other_errors_keep_their_first_line():
    assert str(explained(OSError("\nfull\nmore"), "It")) == "It failed at model_fn: OSError: full."
    assert str(explained(OSError(), "It")) == "It failed at model_fn: OSError: ."


@pytest.mark.parametrize("operator", ["aten.searchsorted.Tensor", "aten.searchsorted"])
def test_operators_that_onnx_lacks(operator):
    text = str(lacking_operator(operator, "model.py, line 3", "The export"))
    assert text.startswith(
        f"The export failed at model.py, line 3: ONNX has no operator for {operator}. Use torch.buck"
    )
    assert 'formats=("torch_export", "torchscript")' in text
    assert "Write it with other operations, or export" in str(lacking_operator("aten.strange", "x", "It"))


def test_the_alternatives_are_there():
    assert torch.equal(
        torch.bucketize(torch.tensor([0.5, 2.0]), torch.tensor([1.0, 3.0])),
        torch.searchsorted(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 2.0])),
    )
    assert set(ALTERNATIVES) == {"searchsorted", "erfinv", "lgamma", "unique_consecutive"}
