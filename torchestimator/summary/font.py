"""A small built-in font for text in pictures: ASCII glyphs on a 5 x 9 grid, drawn as smooth strokes at any size."""

import functools

import numpy as np

_ROWS = 9
_CAP_ROWS = 7
"""Rows of a capital letter; the two below it are for descenders."""
_FIRST = 32
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_GLYPHS = (
    "000000000444440400aaa000000aavavaa004fke5u400op248j300cik8lid004440000002488842008422248000level000"
    "044v44000000004480000v0000000000040011248gg00ehhhhhe004c4444e00eh1248v00eh161he0026aiv2200vgu11he00"
    "ehguhhe00v12244400ehhehhe00ehhf1he0000400040000400448012484210000v0v0000g84248g00eh1240400ehnlngf00"
    "4ahhvhh00uhhuhhu00ehggghe00uhhhhhu00vgguggv00vgguggg00ehgnhhe00hhhvhhh00e44444e0011111he00hikokih00"
    "ggggggv00hrlhhhh00hppljjh00ehhhhhe00uhhuggg00ehhhlid00uhhukih00ehge1he00v44444400hhhhhhe00hhhhaa400"
    "hhhhlrh00hha4ahh00hha444400v1248gv00e88888e00gg8421100e22222e004ah0000000000000v084000000000e1fhf00"
    "gguhhhu0000ehghe0011fhhhf0000ehvge00698s8880000fhhhf1egguhhhh0040c444e0020622222cggikoki00c44444e00"
    "00ullll0000uhhhh0000ehhhe0000uhhhugg00fhhhf1100mpggg0000fge1u0088s88960000hhhhf0000hhha40000hhlla00"
    "00ha4ah0000hhhhf1e00v248v00244844200444444400844244800008l20000"
)
"""For each character from the space on, nine rows, each the five bits of a base-32 digit."""
_SPACE_COLUMNS = 3
_GAP = 1.4
"""Space between two glyphs, in grid units."""
_STROKE = 0.15
"""Stroke width as a share of the height of a capital letter."""


def text_mask(text: str, size: float) -> np.ndarray:
    """Return how much of each pixel the text covers.

    Neighbouring dots of a glyph's grid are joined by strokes with round ends, and a pixel's coverage is taken from its
    distance to the nearest stroke: the grid does not show, and edges are smooth.

    Args:
        text: One line. Characters outside ASCII are drawn as `?`.
        size: Height of a capital letter, in pixels.

    Returns:
        `[height, width]` float32 in 0..1; the height is that of nine grid rows, whatever the text.
    """
    masks = [_glyph_mask(character if " " <= character <= "~" else "?", size) for character in text or " "]
    return np.concatenate(masks, axis=1)


@functools.lru_cache(maxsize=1024)
def _glyph_mask(character: str, size: float) -> np.ndarray:
    """Return the coverage of one glyph, with the gap after it."""
    unit = size / (_CAP_ROWS - 1 + _STROKE * _CAP_ROWS)
    dots = _dots(character)
    columns = dots[:, 1]
    left = columns.min() if len(dots) else 0
    width = columns.max() - left if len(dots) else _SPACE_COLUMNS - 1
    radius = _STROKE * size / 2
    shape = (round((_ROWS - 1) * unit + 2 * radius), max(1, round((width + _GAP) * unit + 2 * radius - 0.3 * unit)))
    if not len(dots):
        return np.zeros(shape, np.float32)
    y, x = np.meshgrid(np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5, indexing="ij")
    points = np.stack([y, x], axis=-1)[:, :, None, :]
    strokes = (_strokes(dots) - [0, left]) * unit + radius
    start, along = strokes[:, 0], strokes[:, 1] - strokes[:, 0]
    length = np.maximum((along**2).sum(-1), 1e-9)
    share = np.clip(((points - start) * along).sum(-1) / length, 0.0, 1.0)
    distance = np.sqrt(((points - start - share[..., None] * along) ** 2).sum(-1)).min(axis=-1)
    return np.asarray(np.clip(radius + 0.5 - distance, 0.0, 1.0), np.float32)


def _dots(character: str) -> np.ndarray:
    """Return row and column of a glyph's dots, `[dots, 2]`."""
    start = (ord(character) - _FIRST) * _ROWS
    rows = [_DIGITS.index(digit) for digit in _GLYPHS[start : start + _ROWS]]
    bits = [(row, column) for row, value in enumerate(rows) for column in range(5) if value >> (4 - column) & 1]
    return np.array(bits, dtype=np.int64).reshape(-1, 2)


def _strokes(dots: np.ndarray) -> np.ndarray:
    """Return the segments that join neighbouring dots, `[segments, 2 ends, 2]`; a lone dot is a segment of no length.

    Diagonal neighbours are joined only where no third dot makes a corner between them, so corners stay sharp and
    curves, which the grid draws as diagonals, come out round.
    """
    lit = {(int(row), int(column)) for row, column in dots}
    segments = []
    for row, column in sorted(lit):
        segments.append(((row, column), (row, column)))
        segments += [((row, column), end) for end in ((row, column + 1), (row + 1, column)) if end in lit]
        for side in (-1, 1):
            end = (row + 1, column + side)
            if end in lit and (row, column + side) not in lit and (row + 1, column) not in lit:
                segments.append(((row, column), end))
    return np.array(segments, dtype=np.float64)
