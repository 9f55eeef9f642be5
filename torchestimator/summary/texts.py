"""Text summaries: words, markdown, and plain string values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchestimator.summary import protos
from torchestimator.summary.item import SummaryItem


@dataclass(frozen=True, kw_only=True)
class TextSummary(SummaryItem):
    """A string, or a list of strings that TensorBoard shows as a table."""

    text: str | tuple[str, ...]
    """One string (rank 0) or several (rank 1)."""
    plugin: str = "text"
    """TensorBoard dashboard that shows it; empty for a value that only tools read."""

    @classmethod
    def of(cls, tag: str, text: str | Sequence[str], plugin: str = "text") -> "TextSummary":
        """Keep a string or a list of strings.

        Args:
            tag: Name of the summary.
            text: What to show; markdown is rendered.
            plugin: Dashboard, as in the field.
        """
        if isinstance(text, str):
            return cls(tag=tag, text=text, plugin=plugin)
        if not isinstance(text, (list, tuple)) or not all(isinstance(line, str) for line in text):
            raise TypeError(
                f"`string_or_list` of the text summary {tag!r} must be a string or a list of strings. "
                f"Received: {text!r}. For another object: summary.text({tag!r}, str(value))."
            )
        return cls(tag=tag, text=tuple(text), plugin=plugin)

    def encode(self, arrays: Sequence[np.ndarray]) -> list[protos.Message]:  # noqa: ARG002 - text has no tensors
        """Return one string tensor."""
        return [protos.strings(self.tag, self.text, self.plugin)]
