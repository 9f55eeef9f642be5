"""PNG encoding, against an imaging library."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from torchestimator.summary.png import encode_png

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1), st.integers(1, 256)
)
def test_pictures_survive(height, width, channels, seed, levels):
    picture = np.random.default_rng(seed).integers(0, levels, (height, width, channels)).astype(np.uint8)
    decoded = Image.open(io.BytesIO(encode_png(picture)))
    assert decoded.mode == MODES[channels]
    assert decoded.size == (width, height)
    np.testing.assert_array_equal(np.asarray(decoded).reshape(picture.shape), picture)


@pytest.mark.parametrize("axis", [0, 1])
def test_smooth_pictures_are_filtered(axis):
    # A ramp with 256 different values in a row or column: incompressible as it is, nothing but ones after the filter.
    ramp = np.arange(256, dtype=np.uint8)
    picture = np.broadcast_to(ramp[:, None] if axis == 0 else ramp[None], (256, 256))[..., None]
    assert len(encode_png(picture)) < 1500
