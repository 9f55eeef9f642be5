"""Says which line of model_fn stands in the way of a capture, and what to write instead."""

from torchestimator.user_line import user_line

_REMEDIES = (
    (
        ("DataDependentOutputException", "GuardOnDataDependentSymNode", ".item()", "_local_scalar_dense"),
        "it reads the value of a tensor (.item(), float(), int(), bool() or `if tensor:`), which a compiled step can't "
        "wait for. Keep it a tensor: torch.where instead of `if`, te.summary.scalar or a hook for looking at values",
    ),
    (
        ("DynamicOutputShapeException", "nonzero", "masked_select"),
        "the shape of its result depends on values (boolean mask, nonzero, unique). Weigh with a mask instead of "
        "selecting: (x * mask).sum() / mask.sum()",
    ),
    (
        ("_PrintedTensorError",),
        "it prints or formats a tensor, which a compiled step would do only once. Log it with te.LoggingTensorHook, or "
        "te.summary",
    ),
    (
        ("numpy", "__array__"),
        "it leaves torch for NumPy, which a compiled step can't follow. Use torch operations",
    ),
)


class CaptureError(RuntimeError):
    """A step can't be captured as a graph."""


def explained(error: BaseException) -> CaptureError:
    """The error that a trace ended with, as one that names the user's line and the remedy."""
    text = f"{type(error).__name__}: {error}"
    reason = next((advice for signs, advice in _REMEDIES if any(sign in text for sign in signs)), None)
    place = user_line(error)
    what = (
        reason if reason is not None else f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    )
    return CaptureError(f"{place}: {what}")
