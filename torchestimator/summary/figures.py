"""Figures drawn as picture tensors, without a plotting library."""

from collections.abc import Sequence

import numpy as np
import torch

from torchestimator.summary.font import text_mask

_LIGHT = (0.98, -0.003, -0.006)
_DARK = (0.37, -0.02, -0.12)
_BULGE = (0.0, -0.07, -0.14)
"""Ends of the shading in OKLab (lightness, green-red, blue-yellow), nearly white and dark blue, and what its middle has
more of: lightness falls evenly, while the tones between are clear blues instead of greys."""
_SHADE_POWER = 2 / 3
"""Below 1, so that the few errors of a good model still show."""
_INK = (40, 44, 52)
_PAPER = (255, 255, 255)
_SIDE, _MAX_SIDE = 560, 1200
"""Pixels across all cells: the first while a cell can be read at that, the second at most."""
_MIN_CELL, _MAX_CELL = 12, 120
"""Pixels across a cell that can be read; the smaller one is also the least pitch of the class names."""
_TICK_STRIDES = (1, 2, 5, 10, 20)
_TITLE_SIZE, _MAX_LABEL_SIZE, _MIN_LABEL_SIZE = 15.0, 13.0, 9.0
_MAX_NUMBER_SIZE, _MIN_NUMBER_SIZE = 16.0, 5.5
"""Heights of capital letters, in pixels; TensorBoard first shows a picture at half its size, every second pixel."""
_MARGIN, _SPACING = 10, 8
_MAX_NAME = 16
"""Characters of a class name that are shown."""


def confusion_matrix_image(counts: torch.Tensor | np.ndarray, class_names: Sequence[str] | None = None) -> torch.Tensor:
    """Draw a confusion matrix, for `summary.image` or an event writer's `image`.

    Rows are the true classes and columns the predicted ones. A cell is shaded by its share of its row, so that rare
    classes read as well as frequent ones, and shows its count where there is room; zeros stay empty.

    Args:
        counts: `[classes, classes]`, rows true and columns predicted; not negative.
        class_names: A name for each class, by default its index. Long names are cut.

    Returns:
        `[1, 3, height, width]` uint8.
    """
    table = _checked_table(counts)
    names = _names(class_names, len(table))
    cell = _cell_side(len(table))
    matrix = _draw_matrix(table, cell)
    rows, columns = _draw_row_names(names, cell), _draw_column_names(names, cell)
    predicted = _centred(text_mask("predicted", _TITLE_SIZE), matrix.shape[1])
    true = np.rot90(_centred(text_mask("true", _TITLE_SIZE), matrix.shape[0]))
    upper = np.concatenate([true, rows, matrix], axis=1)
    lower = np.concatenate([columns, predicted], axis=0)
    corner = upper.shape[1] - matrix.shape[1]
    lower = np.pad(lower, ((0, 0), (corner, 0), (0, 0)), constant_values=255)
    figure = np.concatenate([upper, lower], axis=0)
    figure = np.pad(figure, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)
    return torch.from_numpy(figure.transpose(2, 0, 1)[None].copy())


def _checked_table(counts: torch.Tensor | np.ndarray) -> np.ndarray:
    """Return the counts as float64, or raise."""
    table = torch.as_tensor(counts).detach().cpu().double().numpy()
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.size:
        raise ValueError(
            f"`counts` must be a square matrix, [classes, classes]. Received: a tensor of shape {list(table.shape)}."
        )
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError(
            f"`counts` must be finite and not negative. Received: values from {table.min()} to {table.max()}."
        )
    return table


def _names(class_names: Sequence[str] | None, classes: int) -> list[str]:
    """Return a short name for each class, or raise if their number is wrong."""
    if class_names is None:
        return [str(index) for index in range(classes)]
    if isinstance(class_names, str) or len(class_names) != classes:
        raise ValueError(
            f"`class_names` must hold one name for each of the {classes} classes. "
            f"Received: class_names={class_names!r}."
        )
    texts = [str(name) for name in class_names]
    return [text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 2] + ".." for text in texts]


def _cell_side(classes: int) -> int:
    """Return the pixels across one cell."""
    cell = int(np.clip(_SIDE // classes, _MIN_CELL, _MAX_CELL))
    return cell if cell * classes <= _MAX_SIDE else max(1, _MAX_SIDE // classes)


def _draw_matrix(table: np.ndarray, cell: int) -> np.ndarray:
    """Return the shaded cells with their counts, `[side, side, 3]`."""
    totals = table.sum(axis=1, keepdims=True)
    shades = (table / np.where(totals > 0, totals, 1.0)) ** _SHADE_POWER
    picture = _ramp(shades).repeat(cell, axis=0).repeat(cell, axis=1)
    gap = 2 if cell >= 24 else int(cell >= 6)
    edges = np.arange(len(picture)) % cell < gap
    picture[edges] = _PAPER
    picture[:, edges] = _PAPER
    _print_counts(picture, table, shades, cell)
    return picture


def _print_counts(picture: np.ndarray, table: np.ndarray, shades: np.ndarray, cell: int) -> None:
    """Print each count in the middle of its cell, all in one size, unless that is too small to read."""
    widest = max(text_mask(_number(count), _MAX_NUMBER_SIZE).shape[1] for count in np.unique(table))
    size = min(_MAX_NUMBER_SIZE, 0.4 * cell, _MAX_NUMBER_SIZE * (cell - 5) / widest)
    if size < _MIN_NUMBER_SIZE:
        return
    for row, column in np.argwhere(table > 0):
        ink = _PAPER if shades[row, column] > 0.5 else _INK
        mask = text_mask(_number(table[row, column]), size)
        _stamp(picture, mask, (row + 0.5) * cell + 1 - size / 2, (column + 0.5) * cell + 1 - mask.shape[1] / 2, ink)


def _ramp(shades: np.ndarray) -> np.ndarray:
    """Return the colours of shades in 0..1, `[..., 3]` uint8; in OKLab, where equal steps of lightness look equal.

    The conversion to linear RGB is that of B. Ottosson, "A perceptual color space for image processing" (2020).
    """
    light, dark = np.array(_LIGHT), np.array(_DARK)
    share = shades[..., None]
    lab = light + share * (dark - light) + share * (1.0 - share) * np.array(_BULGE)
    cone = lab @ np.array(
        [[1.0, 1.0, 1.0], [0.3963377774, -0.1055613458, -0.0894841775], [0.2158037573, -0.0638541728, -1.2914855480]]
    )
    linear = cone**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = linear.clip(0.0, 1.0)
    # The transfer function of sRGB (IEC 61966-2-1).
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray((srgb * 255.0).round(), np.uint8)


def _number(count: float) -> str:
    """Return a count in few characters: 7, 1234, 12.3k, 4.56M, 0.25."""
    # The limits are where three digits would round up to the next unit.
    for limit, scale, unit in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (9999.5, 1e3, "k")):
        if count >= limit:
            return f"{count / scale:.3g}{unit}"
    return f"{count:.0f}" if count >= 100 or count == round(count) else f"{count:.3g}"


def _label_size(cell: int) -> float:
    """Return the height of a capital letter in the class names."""
    return float(np.clip(0.6 * cell, _MIN_LABEL_SIZE, _MAX_LABEL_SIZE))


def _draw_row_names(names: Sequence[str], cell: int) -> np.ndarray:
    """Return the names at the left of the matrix, right-aligned, `[side, width, 3]`; some of them on narrow cells."""
    every = next(stride for stride in _TICK_STRIDES if stride * cell >= _MIN_CELL)
    size = _label_size(cell)
    masks = [text_mask(name, size) for name in names[::every]]
    width = max(mask.shape[1] for mask in masks)
    strip = _paper(len(names) * cell, width + 2 * _SPACING)
    for index, mask in enumerate(masks):
        top = (index * every + 0.5) * cell - size / 2
        _stamp(strip, mask, max(0, top), _SPACING + width - mask.shape[1], _INK)
    return strip


def _draw_column_names(names: Sequence[str], cell: int) -> np.ndarray:
    """Return the names below the matrix, upright if they fit side by side, else turned, `[height, side, 3]`."""
    masks = [text_mask(name, _label_size(cell)) for name in names]
    if max(mask.shape[1] for mask in masks) > cell - 4:
        # A quarter turn brings the ends of the names, which face the matrix, to the top.
        return np.rot90(_draw_row_names(names, cell))
    strip = _paper(masks[0].shape[0] + 2 * _SPACING, len(names) * cell)
    for index, mask in enumerate(masks):
        _stamp(strip, mask, _SPACING, (index + 0.5) * cell - mask.shape[1] / 2, _INK)
    return strip


def _centred(mask: np.ndarray, width: int) -> np.ndarray:
    """Return a strip of paper with the text in its middle, `[height, width, 3]`, wide enough for the text."""
    strip = _paper(mask.shape[0], max(width, mask.shape[1]))
    _stamp(strip, mask, 0, (strip.shape[1] - mask.shape[1]) / 2, _INK)
    return strip


def _paper(height: int, width: int) -> np.ndarray:
    """Return an empty piece of the figure."""
    return np.full((height, width, 3), _PAPER, np.uint8)


def _stamp(picture: np.ndarray, mask: np.ndarray, top: float, left: float, ink: tuple[int, int, int]) -> None:
    """Print `mask` in the colour `ink` on `picture`; what lies outside is cut."""
    row, column = round(top), round(left)
    part = mask[max(0, -row) :, max(0, -column) :]
    target = picture[max(0, row) : max(0, row) + part.shape[0], max(0, column) : max(0, column) + part.shape[1]]
    cover = part[: target.shape[0], : target.shape[1], None]
    target[:] = (target * (1.0 - cover) + np.array(ink) * cover).round().astype(np.uint8)
