"""Scalar summaries."""

import math

import numpy as np
import pytest
import torch

from tests.summary.event_files import load
from torchestimator import summary
from torchestimator.summary.record import Recorder, recording
from torchestimator.summary.writer import EventWriter


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor(1.5), 1.5),
        (torch.tensor([[2.5]], dtype=torch.bfloat16), 2.5),
        (torch.tensor(7), 7.0),
        (torch.tensor(True), 1.0),
        (np.float64(0.25), 0.25),
        (np.array(3), 3.0),
        (4, 4.0),
        (math.inf, math.inf),
    ],
)
def test_numbers_of_every_sort_are_written(tmp_path, value, expected):
    recorder = Recorder()
    with recording(recorder):
        summary.scalar("value", value)
    writer = EventWriter(tmp_path)
    writer.write(recorder.items, 3)
    writer.close()
    (event,) = load(tmp_path).Scalars("value")
    assert (event.step, event.value) == (3, expected)


def test_nan_is_written(tmp_path):
    writer = EventWriter(tmp_path)
    writer.scalars({"loss": float("nan")}, 1)
    writer.close()
    assert math.isnan(load(tmp_path).Scalars("loss")[0].value)


def test_several_values_get_the_corrected_line():
    with (
        recording(Recorder()),
        pytest.raises(ValueError, match=r"shape \[4, 3\].*summary.scalar\('logits', x.mean\(\)\)"),
    ):
        summary.scalar("logits", torch.zeros(4, 3))


@pytest.mark.parametrize("value", ["0.5", None, [1.0], torch.tensor(1j)])
def test_what_is_no_real_number_is_refused(value):
    with recording(Recorder()), pytest.raises(TypeError, match="`tensor` of the scalar summary 'x'"):
        summary.scalar("x", value)
