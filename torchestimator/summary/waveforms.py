"""Audio summaries: sound as 16-bit WAV."""

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchestimator.summary import protos
from torchestimator.summary.item import SummaryItem

_FULL_SCALE = 32767
"""Sample value of 1.0: symmetric, so that -1.0 does not clip on players that negate it."""


@dataclass(frozen=True, kw_only=True)
class AudioSummary(SummaryItem):
    """Up to `max_outputs` clips of a batch."""

    sample_rate: int
    """Frames per second, in hertz."""
    max_outputs: int
    """Clips kept per step; 1 gives the tag `<name>/audio`, more give `<name>/audio/<i>`."""

    @classmethod
    def of(cls, tag: str, tensor: torch.Tensor, sample_rate: float, max_outputs: int = 3) -> "AudioSummary":
        """Keep the first clips of a batch, as 16-bit samples made on the device.

        Args:
            tag: Name of the summary.
            tensor: `[batch, frames]` or `[batch, frames, channels]`, floating point in [-1, 1]; what is outside is
                clipped.
            sample_rate: Hertz.
            max_outputs: Most clips to keep.
        """
        _check(tag, tensor, sample_rate, max_outputs)
        clips = tensor.detach()[:max_outputs]
        if clips.ndim == 2:
            clips = clips.unsqueeze(-1)
        samples = (clips.float().nan_to_num(0.0).clamp(-1.0, 1.0) * _FULL_SCALE).round().to(torch.int16)
        return cls(tag=tag, tensors=(samples,), sample_rate=round(sample_rate), max_outputs=max_outputs)

    def encode(self, arrays: Sequence[np.ndarray]) -> list[protos.Message]:
        """Return one message per clip."""
        values = []
        for index, clip in enumerate(arrays[0]):
            tag = f"{self.tag}/audio" if self.max_outputs == 1 else f"{self.tag}/audio/{index}"
            frames, channels = clip.shape
            values.append(protos.audio(tag, self.sample_rate, channels, frames, _wav(clip, self.sample_rate)))
        return values


def _check(tag: str, tensor: torch.Tensor, sample_rate: float, max_outputs: int) -> None:
    """Raise unless the arguments describe a batch of clips."""
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        received = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise TypeError(
            f"`tensor` of the audio summary {tag!r} must be a floating-point tensor with samples in [-1, 1]. "
            f"Received: {received}. From 16-bit samples: `x.float() / 32768`."
        )
    if tensor.ndim not in (2, 3):
        raise ValueError(
            f"`tensor` of the audio summary {tag!r} must have the shape [batch, frames] or [batch, frames, channels]. "
            f"Received: a tensor of shape {list(tensor.shape)}. For a single clip: `x.unsqueeze(0)`."
        )
    if tensor.ndim == 3 and tensor.shape[2] > tensor.shape[1]:
        raise ValueError(
            f"`tensor` of the audio summary {tag!r} must have the channels last: [batch, frames, channels]. "
            f"Received: a tensor of shape {list(tensor.shape)}, with more channels than frames. "
            f"From [batch, channels, frames]: `x.transpose(1, 2)`."
        )
    if not sample_rate > 0:
        raise ValueError(
            f"`sample_rate` of the audio summary {tag!r} must be above 0 hertz. Received: sample_rate={sample_rate}."
        )
    if max_outputs < 1:
        raise ValueError(
            f"`max_outputs` of the audio summary {tag!r} must be at least 1. Received: max_outputs={max_outputs}."
        )


def _wav(clip: np.ndarray, sample_rate: int) -> bytes:
    """Return a WAV file of `clip`, `[frames, channels]` int16."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(clip.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.ascontiguousarray(clip).astype("<i2").tobytes())
    return buffer.getvalue()
