"""Figures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.summary import confusion_matrix_image
from torchestimator.summary.figures import _number, _ramp
from torchestimator.summary.font import text_mask


def luminance(picture):
    """Return the brightness of a picture [1, 3, height, width] in 0..1."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    return (picture[0].float() / 255 * weights[:, None, None]).sum(0)


def cells(picture, classes, side):
    """Return the cells of the matrix, [classes, classes, side, side] of brightness; it ends at the right margin."""
    bright = luminance(picture)
    left = bright.shape[1] - 10 - classes * side
    matrix = bright[10 : 10 + classes * side, left : left + classes * side]
    return matrix.reshape(classes, side, classes, side).transpose(1, 2)


def test_a_digits_matrix_has_the_expected_form():
    counts = torch.eye(10) * 35 + torch.ones(10, 10)
    picture = confusion_matrix_image(counts)
    assert picture.dtype == torch.uint8
    assert picture.shape[:2] == (1, 3)
    assert 560 < picture.shape[2] < 700
    assert 560 < picture.shape[3] < 700


def test_rows_are_shaded_by_their_own_total():
    counts = np.array([[8, 2, 0], [200, 800, 0], [0, 0, 0]])
    grid = cells(confusion_matrix_image(counts), 3, 120)
    shade = grid[:, :, 10:30, 10:30].mean(dim=(2, 3))  # a corner that the numbers do not reach
    assert shade[0, 0] == shade[1, 1]
    assert shade[0, 1] == shade[1, 0]
    assert shade[0, 0] < shade[0, 1] < shade[0, 2]
    assert shade[0, 2] == shade[2, 0] == shade[2, 2]


def test_counts_stand_in_the_cells_and_zeros_do_not():
    grid = cells(confusion_matrix_image(np.array([[5, 5], [0, 10]])), 2, 120)
    inner = grid[:, :, 4:, 4:]
    spread = inner.amax(dim=(2, 3)) - inner.amin(dim=(2, 3))
    assert spread[0, 0] > 0.3
    assert spread[0, 1] > 0.3
    assert spread[1, 1] > 0.3
    assert spread[1, 0] == 0.0


def test_a_count_reads_as_itself():
    grid = cells(confusion_matrix_image(np.array([[42, 0], [0, 7]])), 2, 120)
    cell = grid[0, 0, 2:, 2:]
    ink = (cell - cell.min()) / (1.0 - cell.min())  # white on dark
    mask = torch.from_numpy(text_mask("42", 16.0))
    ink, mask = (image[image.amax(1) > 0.1][:, image.amax(0) > 0.1] for image in (ink, mask))
    torch.testing.assert_close(ink, mask, atol=0.02, rtol=0.0)


def test_class_names_change_the_labels_only():
    counts = torch.eye(3)
    plain, named = (
        confusion_matrix_image(counts),
        confusion_matrix_image(counts, ["cat", "dog", "a name far too long to show"]),
    )
    torch.testing.assert_close(cells(plain, 3, 120), cells(named, 3, 120))
    assert named.shape[3] > plain.shape[3]


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 60), st.integers(0, 2**31))
def test_any_number_of_classes_can_be_drawn(classes, seed):
    counts = np.random.default_rng(seed).integers(0, 10**7, (classes, classes))
    picture = confusion_matrix_image(counts)
    assert max(picture.shape) <= 1400
    border = torch.cat([picture[..., :3, :].flatten(), picture[..., -3:, :].flatten()])
    assert (border == 255).all()


def test_very_many_classes_share_a_limited_picture():
    picture = confusion_matrix_image(torch.eye(700))
    assert max(picture.shape) <= 1400


def test_darkness_grows_evenly_with_the_share():
    colours = _ramp(np.linspace(0, 1, 101)).astype(np.float64)
    brightness = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) < 0).all()
    assert brightness[0] > 240
    assert brightness[-1] < 70


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7, "7"),
        (1234, "1234"),
        (9999, "9999"),
        (12345, "12.3k"),
        (999_949, "1M"),
        (123_456, "123k"),
        (4_560_000, "4.56M"),
        (2e9, "2G"),
        (0.25, "0.25"),
        (1234.5, "1234"),
    ],
)
def test_counts_are_short(count, text):
    assert _number(count) == text


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        (torch.zeros(2, 3), None, r"square matrix.*\[2, 3\]"),
        (torch.zeros(4), None, r"square matrix.*\[4\]"),
        (torch.zeros(0, 0), None, "square matrix"),
        (-torch.eye(2), None, "not negative"),
        (torch.eye(2) / 0, None, "finite"),
        (torch.eye(2), ["a"], "one name for each of the 2 classes"),
        (torch.eye(2), "ab", "one name for each of the 2 classes"),
    ],
)
def test_wrong_input_is_explained(counts, names, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix_image(counts, names)
