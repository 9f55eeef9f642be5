"""Image summaries: pictures as PNG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchestimator.summary import protos
from torchestimator.summary.item import SummaryItem
from torchestimator.summary.png import encode_png


@dataclass(frozen=True, kw_only=True)
class ImageSummary(SummaryItem):
    """Up to `max_outputs` pictures of a batch."""

    max_outputs: int
    """Pictures kept per step; 1 gives the tag `<name>/image`, more give `<name>/image/<i>`, as in TensorFlow."""

    @classmethod
    def of(cls, tag: str, tensor: torch.Tensor, max_outputs: int = 3, dataformats: str = "NCHW") -> "ImageSummary":
        """Keep the first pictures of a batch, as 8-bit values made on the device.

        Args:
            tag: Name of the summary.
            tensor: `[batch, channels, height, width]` with 1, 3 or 4 channels (grey, RGB, RGBA); uint8 in 0..255, or
                floating point in 0..1, of which what is outside is clipped.
            max_outputs: Most pictures to keep.
            dataformats: "NCHW", or "NHWC" for TensorFlow's `[batch, height, width, channels]`.
        """
        _check(tag, tensor, max_outputs, dataformats)
        pictures = tensor.detach()[:max_outputs]
        if dataformats == "NCHW":
            pictures = pictures.permute(0, 2, 3, 1)
        if pictures.is_floating_point():
            pictures = (pictures.float().nan_to_num(0.0).clamp(0.0, 1.0) * 255.0).round()
        return cls(tag=tag, tensors=(pictures.to(torch.uint8, copy=True),), max_outputs=max_outputs)

    def encode(self, arrays: Sequence[np.ndarray]) -> list[protos.Message]:
        """Return one message per picture."""
        values = []
        for index, picture in enumerate(arrays[0]):
            tag = f"{self.tag}/image" if self.max_outputs == 1 else f"{self.tag}/image/{index}"
            height, width, channels = picture.shape
            values.append(protos.image(tag, height, width, channels, encode_png(picture)))
        return values


def _check(tag: str, tensor: torch.Tensor, max_outputs: int, dataformats: str) -> None:
    """Raise unless the arguments describe a batch of pictures."""
    if dataformats not in ("NCHW", "NHWC"):
        raise ValueError(
            f'`dataformats` of the image summary {tag!r} must be "NCHW" or "NHWC". '
            f"Received: dataformats={dataformats!r}."
        )
    if not isinstance(tensor, torch.Tensor) or not (tensor.dtype == torch.uint8 or tensor.is_floating_point()):
        received = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise TypeError(
            f"`tensor` of the image summary {tag!r} must be a uint8 tensor in 0..255 or a floating-point tensor in "
            f"0..1. Received: {received}. For other integers in 0..255: `x.to(torch.uint8)`; for a mask: `x.float()`."
        )
    if tensor.ndim != 4:
        hint = {2: "`x[None, None]`", 3: "`x.unsqueeze(0)` for one picture, `x.unsqueeze(1)` for grey ones"}
        raise ValueError(
            f"`tensor` of the image summary {tag!r} must have 4 dimensions, {dataformats}. Received: a tensor of shape "
            f"{list(tensor.shape)}. Corrected: {hint.get(tensor.ndim, '`x.reshape(batch, channels, height, width)`')}."
        )
    channels = tensor.shape[dataformats.index("C")]
    if channels not in (1, 3, 4):
        other = "NHWC" if dataformats == "NCHW" else "NCHW"
        fits_other = tensor.shape[other.index("C")] in (1, 3, 4)
        raise ValueError(
            f"`tensor` of the image summary {tag!r} must have 1, 3 or 4 channels. Received: {channels} channels in a "
            f"tensor of shape {list(tensor.shape)} read as {dataformats}. "
            + (f'Pass `dataformats="{other}"`.' if fits_other else "Choose some of them: `x[:, :3]`.")
        )
    if max_outputs < 1:
        raise ValueError(
            f"`max_outputs` of the image summary {tag!r} must be at least 1. Received: max_outputs={max_outputs}."
        )
