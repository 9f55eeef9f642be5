"""Audio summaries."""

import io
import wave

import numpy as np
import pytest
import torch

from tests.summary.event_files import load
from torchestimator import summary
from torchestimator.summary.record import Recorder, recording
from torchestimator.summary.writer import EventWriter


def test_clips_are_read_back(tmp_path):
    clips = torch.sin(torch.arange(2000.0) / 10).reshape(2, 500, 2)
    recorder = Recorder()
    with recording(recorder):
        summary.audio("stereo", clips, 8000)
        summary.audio("mono", torch.tensor([[0.0, 1.0, -1.0, 3.0]], dtype=torch.float64), 22050.0, max_outputs=1)
    writer = EventWriter(tmp_path)
    writer.write(recorder.items, 4)
    writer.close()
    read = load(tmp_path)
    assert sorted(read.Tags()["audio"]) == ["mono/audio", "stereo/audio/0", "stereo/audio/1"]

    (event,) = read.Audio("stereo/audio/1")
    assert (event.step, event.content_type, event.sample_rate, event.length_frames) == (4, "audio/wav", 8000, 500)
    with wave.open(io.BytesIO(event.encoded_audio_string)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        samples = np.frombuffer(file.readframes(500), "<i2").reshape(500, 2)
    np.testing.assert_allclose(samples / 32767, clips[1].numpy(), atol=1 / 32767)

    (event,) = read.Audio("mono/audio")
    with wave.open(io.BytesIO(event.encoded_audio_string)) as file:
        assert np.frombuffer(file.readframes(4), "<i2").tolist() == [0, 32767, -32767, 32767]


@pytest.mark.parametrize(
    ("tensor", "options", "message"),
    [
        (torch.zeros(100), {}, r"\[100\].*x.unsqueeze\(0\)"),
        (torch.zeros(1, 2, 100), {}, r"x.transpose\(1, 2\)"),
        (torch.zeros(1, 100), {"sample_rate": 0}, "`sample_rate`.*Received: sample_rate=0"),
        (torch.zeros(1, 100), {"max_outputs": 0}, "`max_outputs`.*Received: max_outputs=0"),
    ],
)
def test_wrong_shapes_get_the_corrected_line(tensor, options, message):
    with recording(Recorder()), pytest.raises(ValueError, match=message):
        summary.audio("x", tensor, **({"sample_rate": 8000} | options))


@pytest.mark.parametrize("tensor", [torch.zeros(1, 100, dtype=torch.int16), [0.0]])
def test_wrong_types_are_refused(tensor):
    with recording(Recorder()), pytest.raises(TypeError, match="`tensor` of the audio summary 'x'"):
        summary.audio("x", tensor, 8000)
