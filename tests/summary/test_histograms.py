"""Histogram summaries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.summary.event_files import load
from torchestimator import summary
from torchestimator.summary import histograms
from torchestimator.summary.histograms import HistogramSummary
from torchestimator.summary.record import Recorder, recording
from torchestimator.summary.writer import EventWriter


def encode(values):
    """Return the histogram message of a tensor."""
    item = HistogramSummary.of("h", values)
    return item.encode([tensor.numpy() for tensor in item.tensors])[0].histo


def written(tmp_path, values):
    """Return the histogram that TensorBoard reads."""
    writer = EventWriter(tmp_path)
    writer.histogram("h", values, 5)
    writer.close()
    (event,) = load(tmp_path).Histograms("h")
    assert event.step == 5
    return event.histogram_value


def test_statistics_and_total_are_read_back(tmp_path):
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).reshape(10, 100)
    histogram = written(tmp_path, values)
    assert histogram.num == sum(histogram.bucket) == 1000
    assert histogram.min == pytest.approx(values.min().item())
    assert histogram.max == pytest.approx(values.max().item())
    assert histogram.sum == pytest.approx(values.sum().item(), abs=1e-3)
    assert histogram.sum_squares == pytest.approx(values.square().sum().item(), rel=1e-5)


def test_buckets_grow_by_a_tenth_on_both_sides_of_zero(tmp_path):
    # 1.0 lies in [0.9967, 1.0964), the 290th of the buckets that start at 1e-12 and grow by 10 %, as in TensorFlow.
    histogram = written(tmp_path, torch.tensor([1.0, 1.0, -1.0, 0.0]))
    filled = {limit: count for limit, count in zip(histogram.bucket_limit, histogram.bucket, strict=True) if count}
    upper = 1e-12 * 1.1**290
    assert list(filled) == pytest.approx([-upper / 1.1, 1e-12, upper])
    assert list(filled.values()) == [1.0, 1.0, 2.0]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.floats(-5, 5, width=32),
            st.sampled_from([0.0, -0.0, 1e-12, -1e-12, 1e20, -1e20]),
        ),
        min_size=1,
        max_size=50,
    )
)
def test_every_value_lies_in_its_bucket(numbers):
    histogram = encode(torch.tensor(numbers, dtype=torch.float32))
    limits = np.array(histogram.bucket_limit)
    assert (np.diff(limits) > 0).all()
    assert sum(histogram.bucket) == histogram.num == len(numbers)
    # A limit has as many values below it by the buckets as by the values, up to float rounding at the limit.
    values = np.array(numbers)
    slack = np.minimum(1e-4 * np.abs(limits), 1e30)
    for below, limit, margin in zip(np.cumsum(histogram.bucket), limits, slack, strict=True):
        assert np.sum(values < limit - margin) <= below <= np.sum(values <= limit + margin)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-100, 100, width=32), max_size=30), st.integers(1, 7))
def test_the_counts_do_not_depend_on_the_chunks(numbers, chunk):
    values = torch.tensor(numbers, dtype=torch.float64)
    whole = encode(values)
    original = histograms._CHUNK
    histograms._CHUNK = chunk
    try:
        parts = encode(values)
    finally:
        histograms._CHUNK = original
    assert list(parts.bucket) == list(whole.bucket)
    assert list(parts.bucket_limit) == list(whole.bucket_limit)
    assert (parts.min, parts.max) == (whole.min, whole.max)
    assert parts.sum == pytest.approx(whole.sum)


def test_nan_and_infinity_are_left_out_with_a_warning(tmp_path, caplog):
    histogram = written(tmp_path, torch.tensor([1.0, math.nan, math.inf, -math.inf, 2.0]))
    assert (histogram.num, histogram.min, histogram.max, histogram.sum) == (2, 1.0, 2.0, 3.0)
    assert "leaves out 3 of 5 values" in caplog.text


@pytest.mark.parametrize("values", [torch.empty(0), torch.tensor([math.nan])])
def test_no_values_make_an_empty_histogram(tmp_path, values):
    histogram = written(tmp_path, values)
    assert (histogram.num, histogram.min, histogram.max, list(histogram.bucket)) == (0, 0.0, 0.0, [0.0])


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16, torch.float64, torch.uint8])
def test_every_real_type_is_counted(dtype):
    histogram = encode(torch.tensor([0, 1, 1]).to(dtype))
    assert [count for count in histogram.bucket if count] == [1.0, 2.0]


@pytest.mark.parametrize("values", [[1.0], 1.0, torch.tensor(1j)])
def test_what_is_no_real_tensor_is_refused(values):
    with recording(Recorder()), pytest.raises(TypeError, match="`values` of the histogram summary 'h'"):
        summary.histogram("h", values)
