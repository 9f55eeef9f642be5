"""Says why a model could not be exported, at which line of the user's, and what to write instead."""

from collections.abc import Callable

from torchestimator.user_line import user_line

_REMEDIES = (
    (
        ("GuardOnDataDependentSymNode", "DataDependent", "Could not guard on data-dependent", "_local_scalar_dense"),
        "it reads the value of a tensor (.item(), float(), int(), bool() or `if tensor:`), which an exported "
        "model can't do. Keep it a tensor: torch.where(condition, a, b) instead of `if`",
    ),
    (
        ("Constraints violated", "specialized", "ConstraintViolationError", "were marked dynamic", "Specialization"),
        "it makes the size of a dimension a constant. Use tensor operations for sizes: x.shape[0] as it is instead of "
        "int(x.shape[0]), x.reshape(x.shape[0], -1), -1 for one unknown size",
    ),
    (
        ("numpy", "__array__"),
        "it leaves torch for NumPy, which an exported model can't. Use torch operations",
    ),
)

ALTERNATIVES = {
    "searchsorted": "torch.bucketize(x, boundaries)",
    "erfinv": "torch.special.ndtri, or a table with torch.bucketize",
    "lgamma": "Stirling's formula in torch operations",
    "unique_consecutive": "torch.unique",
}
"""What to use instead of operators that ONNX lacks, where there is something."""


class ExportError(ValueError):
    """The model can't be exported as it is."""


def explained(error: BaseException, what: str, line_of_fixed_size: Callable[[], str] | None = None) -> ExportError:
    """An error of torch's exporters as one that names the user's line and the remedy.

    Args:
        error: what was raised.
        what: what could not be done: "torch.export of the signature 'serving_default'".
        line_of_fixed_size: looks for the line that makes a size a constant.
    """
    text = f"{type(error).__name__}: {error}"
    reason = next((advice for signs, advice in _REMEDIES if any(sign in text for sign in signs)), None)
    place = user_line(error)
    if line_of_fixed_size is not None and reason == _REMEDIES[1][1]:
        place = line_of_fixed_size()
    if reason is None:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
    return ExportError(f"{what} failed at {place}: {reason}.")


def lacking_operator(operator: str, place: str, what: str) -> ExportError:
    """The error for an operator that ONNX does not have.

    Args:
        operator: "aten.searchsorted.Tensor".
        place: the user's line that it comes from.
        what: what could not be done.
    """
    name = operator.split(".")[1] if "." in operator else operator
    alternative = ALTERNATIVES.get(name)
    remedy = f"Use {alternative} instead" if alternative else "Write it with other operations"
    return ExportError(
        f"{what} failed at {place}: ONNX has no operator for {operator}. {remedy}, or export "
        'without ONNX: formats=("torch_export", "torchscript").'
    )
