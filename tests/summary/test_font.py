"""The built-in font."""

import numpy as np
import pytest

from torchestimator.summary.font import text_mask


def test_printable_characters_all_look_different():
    characters = [chr(code) for code in range(33, 127) if chr(code) != "O"]  # which is the zero
    masks = [text_mask(character, 14.0) for character in characters]
    assert len({(mask.shape, mask.tobytes()) for mask in masks}) == len(characters)
    assert all(mask.max() > 0.8 for mask in masks)


@pytest.mark.parametrize("size", [6.0, 7.3, 12.0, 40.0])
def test_capitals_have_the_asked_height(size):
    rows = np.flatnonzero(text_mask("HE0", size).max(axis=1) > 0.5)
    assert rows[0] == 0
    assert abs(len(rows) - size) <= 1


def test_text_is_as_high_whatever_it_says_and_grows_with_its_length():
    shapes = [text_mask(text, 9.0).shape for text in ("", "a", "ag", "agM")]
    assert len({height for height, _ in shapes}) == 1
    widths = [width for _, width in shapes]
    assert widths[1] < widths[2] < widths[3]


def test_descenders_go_below_the_line():
    below = round(10.0) + 1
    assert text_mask("gpqy", 10.0)[below:].max() > 0.9
    assert text_mask("abeX8", 10.0)[below:].max() == 0.0


def test_other_characters_become_question_marks():
    np.testing.assert_array_equal(text_mask("\u00fc", 9.0), text_mask("?", 9.0))
