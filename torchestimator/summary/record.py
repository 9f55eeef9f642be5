"""Recording summaries inside model_fn.

The functions here are called in every step and record only while a `Recorder` is active, which the trainer arranges for
the steps it writes (`with recording(recorder): ...`). On all other steps a call is one attribute read.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from torchestimator.summary.histograms import HistogramSummary
from torchestimator.summary.images import ImageSummary
from torchestimator.summary.item import SummaryItem
from torchestimator.summary.scalars import ScalarSummary
from torchestimator.summary.texts import TextSummary
from torchestimator.summary.waveforms import AudioSummary


def _top_scope() -> str:
    return ""


class Recorder:
    """Collects the summaries of one step.

    Tags are made as TensorFlow makes them: the name scope in front (`tower/loss`), spaces as `_`, no leading `/`, and a
    tag that is taken gets the suffix `_1`, `_2`, ... Other characters stay as they are, where TensorFlow turned all but
    letters, digits and `-_./` into `_`.
    """

    prefix: Callable[[], str]
    """Gives the current name scope, without a final `/`; empty at the top."""

    def __init__(self, prefix: Callable[[], str] = _top_scope) -> None:
        self.prefix = prefix
        self._items: dict[str, SummaryItem] = {}

    @property
    def items(self) -> list[SummaryItem]:
        """What was recorded, in the order of the calls."""
        return list(self._items.values())

    def add(self, item: SummaryItem) -> None:
        """Keep `item` under its final tag."""
        scope, name = self.prefix(), _clean(item.tag)
        base = f"{scope}/{name}" if scope else name
        tag, copies = base, 0
        while tag in self._items:
            copies += 1
            tag = f"{base}_{copies}"
        self._items[tag] = dataclasses.replace(item, tag=tag)


class _Active(threading.local):
    """The recorder of this thread: other threads (input pipelines, evaluators) do not record into this step."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = None


_ACTIVE = _Active()


@contextlib.contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Send the summaries of this thread to `recorder` inside the block, or nowhere if it is None."""
    outer = _ACTIVE.recorder
    _ACTIVE.recorder = recorder
    try:
        yield
    finally:
        _ACTIVE.recorder = outer


def scalar(name: str, tensor: torch.Tensor | np.ndarray | np.generic | float) -> None:
    """Record one number.

    Args:
        name: Name of the summary; scopes and repetitions are added to it.
        tensor: A tensor or number that holds exactly one real value.

    Raises:
        ValueError: `tensor` holds several values.
    """
    recorder = _ACTIVE.recorder
    if recorder is not None:
        recorder.add(ScalarSummary.of(name, tensor))


def histogram(name: str, values: torch.Tensor) -> None:
    """Record how the values of a tensor are spread, over TensorFlow's buckets (growing by 10 %).

    Args:
        name: Name of the summary.
        values: A real tensor of any shape. It is counted on its device; NaN and infinities are left out with a warning.
    """
    recorder = _ACTIVE.recorder
    if recorder is not None:
        recorder.add(HistogramSummary.of(name, values))


def image(name: str, tensor: torch.Tensor, max_outputs: int = 3, dataformats: str = "NCHW") -> None:
    """Record pictures.

    Args:
        name: Name of the summary; the tags are `<name>/image/<i>`, or `<name>/image` if `max_outputs` is 1.
        tensor: `[batch, channels, height, width]` with 1, 3 or 4 channels; uint8 in 0..255, or floating point in 0..1
            (values outside are clipped).
        max_outputs: Most pictures of the batch to keep.
        dataformats: "NCHW", or "NHWC" for `[batch, height, width, channels]`, the layout of `tf.summary.image`.

    Raises:
        ValueError: `tensor` does not have 4 dimensions, or not 1, 3 or 4 channels.
    """
    recorder = _ACTIVE.recorder
    if recorder is not None:
        recorder.add(ImageSummary.of(name, tensor, max_outputs, dataformats))


def should_record_summaries() -> bool:
    """Whether this step's summaries are recorded; for values that cost something to compute."""
    return _ACTIVE.recorder is not None


def text(name: str, string_or_list: str | Sequence[str]) -> None:
    """Record a string, or a list of strings, which TensorBoard shows as a table; markdown is rendered.

    Args:
        name: Name of the summary.
        string_or_list: What to show.
    """
    recorder = _ACTIVE.recorder
    if recorder is not None:
        recorder.add(TextSummary.of(name, string_or_list))


def audio(name: str, tensor: torch.Tensor, sample_rate: float, max_outputs: int = 3) -> None:
    """Record sounds.

    Args:
        name: Name of the summary; the tags are `<name>/audio/<i>`, or `<name>/audio` if `max_outputs` is 1.
        tensor: `[batch, frames]` or `[batch, frames, channels]`, floating point in [-1, 1] (beyond: clipped).
        sample_rate: Frames per second, in hertz.
        max_outputs: Most clips of the batch to keep.

    Raises:
        ValueError: `tensor` has another number of dimensions, or its channels are not last.
    """
    recorder = _ACTIVE.recorder
    if recorder is not None:
        recorder.add(AudioSummary.of(name, tensor, sample_rate, max_outputs))


def _clean(name: str) -> str:
    """Return a name as a tag, or raise if nothing is left of it."""
    if not isinstance(name, str):
        raise TypeError(f"`name` of a summary must be a string. Received: name={name!r}.")
    tag = name.replace(" ", "_").lstrip("/")
    if not tag:
        raise ValueError(f'`name` of a summary must not be empty, for example "logits/mean". Received: name={name!r}.')
    return tag
