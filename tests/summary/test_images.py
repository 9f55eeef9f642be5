"""Image summaries."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.summary.event_files import load
from torchestimator import summary
from torchestimator.summary.images import ImageSummary
from torchestimator.summary.record import Recorder, recording
from torchestimator.summary.writer import EventWriter


def pixels(event):
    """Return the picture of an event, [height, width, channels]."""
    picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    return picture.reshape(event.height, event.width, -1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_are_read_back_pixel_by_pixel(tmp_path, channels):
    batch = torch.randint(0, 256, (5, channels, 6, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    writer = EventWriter(tmp_path)
    writer.image("picture", batch, 7)
    writer.close()
    read = load(tmp_path)
    assert read.Tags()["images"] == ["picture/image/0", "picture/image/1", "picture/image/2"]
    for index in range(3):
        (event,) = read.Images(f"picture/image/{index}")
        assert (event.step, event.height, event.width) == (7, 6, 9)
        np.testing.assert_array_equal(pixels(event), batch[index].permute(1, 2, 0).numpy())


def test_a_single_output_has_no_number_in_its_tag(tmp_path):
    writer = EventWriter(tmp_path)
    writer.image("picture", torch.zeros(2, 1, 3, 3), 1, max_outputs=1)
    writer.close()
    assert load(tmp_path).Tags()["images"] == ["picture/image"]


def test_floats_are_clipped_and_rounded():
    values = torch.tensor([0.0, 0.5, 1.0, 1.7, -0.3, float("nan")]).reshape(1, 1, 1, 6)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        item = ImageSummary.of("x", values.to(dtype))
        assert item.tensors[0].flatten().tolist() == [0, 128, 255, 255, 0, 0]


def test_both_layouts_give_the_same_picture():
    batch = torch.rand(2, 3, 4, 5)
    first = ImageSummary.of("x", batch)
    last = ImageSummary.of("x", batch.permute(0, 2, 3, 1), dataformats="NHWC")
    assert torch.equal(first.tensors[0], last.tensors[0])


@pytest.mark.parametrize(
    ("tensor", "options", "message"),
    [
        (torch.zeros(4, 8, 8), {}, r"4 dimensions, NCHW.*\[4, 8, 8\].*unsqueeze"),
        (torch.zeros(8, 8), {}, r"\[8, 8\].*x\[None, None\]"),
        (torch.zeros(4, 8, 8, 3), {}, 'Pass `dataformats="NHWC"`'),
        (torch.zeros(4, 5, 8, 8), {}, r"5 channels.*x\[:, :3\]"),
        (torch.zeros(4, 3, 8, 8), {"dataformats": "CHW"}, "`dataformats`.*Received: dataformats='CHW'"),
        (torch.zeros(4, 3, 8, 8), {"max_outputs": 0}, "`max_outputs`.*Received: max_outputs=0"),
    ],
)
def test_wrong_shapes_get_the_corrected_line(tensor, options, message):
    with recording(Recorder()), pytest.raises(ValueError, match=message):
        summary.image("x", tensor, **options)


@pytest.mark.parametrize("tensor", [torch.zeros(1, 1, 2, 2, dtype=torch.int64), np.zeros((1, 1, 2, 2))])
def test_wrong_types_are_refused(tensor):
    with recording(Recorder()), pytest.raises(TypeError, match="`tensor` of the image summary 'x'"):
        summary.image("x", tensor)
