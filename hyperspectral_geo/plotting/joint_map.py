"""A map of several views in their joint space: a point a row and view, thumbnails where there are pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.group_styles import group_styles
from hyperspectral_geo.plotting.line_axes import literal_legend, write_title
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line, text_size

__all__ = ["joint_map"]

_THUMBNAIL = 22.0  # points of 1/72 inch, the longer side
_FONT = 8.0
_MOST_LABELS = 60


def joint_map(
    codes: Sequence[ArrayLike],
    *,
    names: Sequence[str],
    thumbnails: Sequence[ArrayLike] = (),
    labels: Sequence[str] = (),
    title: str | None = None,
) -> Figure:
    """Draw the two leading principal coordinates of all views' rows together; a line joins the views of one row.

    Where thumbnails or labels would cover each other, the earlier row has its own; labels go first to rows that have
    a thumbnail.

    Args:
        codes: rows of each view in the joint space, (n_v, k), k ≥ 2; row i of each belongs to one thing.
        names: of the views.
        thumbnails: pictures (h, w, 3 or 4) of the first rows, drawn at the points of the first view.
        labels: texts of the first rows, of which at most 60 are written at the points of the second view.
        title: one line above the picture.

    Returns:
        The figure.

    Raises:
        ValueError: for no view, fewer than two coordinates, or names of another number.

    >>> rows = np.eye(4)
    >>> len(joint_map([rows, rows], names=["image", "text"]).axes)
    1
    """
    parts = [as_numbers(f"codes[{number}]", part) for number, part in enumerate(codes)]
    if not parts or len(names) != len(parts) or any(part.ndim != 2 or part.shape[1] < 2 for part in parts):
        shapes = [part.shape for part in parts]
        raise ValueError(f"codes: expected (n, k) with k >= 2 for each of the names {list(names)}, got {shapes}")
    places = _leading(parts)
    figure = new_figure(8.6, 7.0)
    ax = figure.add_axes((0.02, 0.03, 0.96, 0.84 if title else 0.9))
    count = min(map(len, places))
    for other in places[1:]:
        lines = np.stack([places[0][:count], other[:count]], 1)
        ax.add_collection(LineCollection(list(lines), colors="#cbd5e1", linewidths=0.6, zorder=1))
    handles = [
        ax.scatter(part[:, 0], part[:, 1], s=14, color=style.colour, marker=style.marker, zorder=2)
        for style, part in zip(group_styles(list(range(len(parts)))), places, strict=True)
    ]
    ax.margins(0.05)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color("#e4e7ec")
    corner = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2}
    literal_legend(ax, handles, names, ncols=len(parts), fontsize=10, **corner)
    taken = _Taken()
    shown = _draw_thumbnails(ax, places[0], thumbnails, taken)
    _draw_labels(ax, places[min(1, len(places) - 1)], labels, taken, first=shown)
    write_title(figure, title, left=0.03)
    return figure


class _Taken:
    """Boxes of what is drawn, in points of 1/72 inch."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, float, float, float]] = []

    def take(self, left: float, bottom: float, width: float, height: float) -> bool:
        """Take the box unless a part of it is taken."""
        right, top = left + width, bottom + height
        if any(left < r and l < right and bottom < t and b < top for l, b, r, t in self.boxes):  # noqa: E741
            return False
        self.boxes.append((left, bottom, right, top))
        return True


def _draw_thumbnails(ax: Axes, places: np.ndarray, thumbnails: Sequence[ArrayLike], taken: _Taken) -> list[int]:
    """The rows whose thumbnails have room."""
    shown = []
    spots = _in_points(ax, places)
    for row, picture in enumerate(thumbnails[: len(places)]):
        pixels = np.asarray(picture)
        zoom = _THUMBNAIL / max(pixels.shape[:2])
        height, width = (zoom * side for side in pixels.shape[:2])
        if taken.take(spots[row, 0] - width / 2, spots[row, 1] - height / 2, width, height):
            shown.append(row)
            box = AnnotationBbox(OffsetImage(pixels, zoom=zoom), tuple(places[row]), frameon=False, pad=0.0, zorder=3)
            ax.add_artist(box)
    return shown


def _draw_labels(ax: Axes, places: np.ndarray, labels: Sequence[str], taken: _Taken, *, first: Iterable[int]) -> None:
    spots = _in_points(ax, places)
    frame = ax.get_window_extent().x1 * 72 / ax.figure.dpi
    rows = dict.fromkeys([*first, *range(len(labels))])
    left = _MOST_LABELS
    for row in (row for row in rows if row < min(len(labels), len(places))):
        label = one_line(labels[row], limit=24)
        width, height = text_size(label, _FONT)
        x, y = spots[row] + (4, -_FONT / 2)
        if left and x + width < frame and taken.take(x, y, width, height):
            left -= 1
            ax.annotate(
                label,
                tuple(places[row]),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=_FONT,
                color=INK,
                va="center_baseline",
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                zorder=4,
                **LITERAL,
            )


def _in_points(ax: Axes, places: np.ndarray) -> np.ndarray:
    ax.autoscale_view()
    return ax.transData.transform(places) * 72 / ax.figure.dpi


def _leading(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Principal coordinates of all rows together, with signs that make the largest loading positive."""
    rows = np.concatenate(parts)
    centred = rows - rows.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    leading = directions[:2]
    leading = leading * np.sign(leading[np.arange(2), np.abs(leading).argmax(1)])[:, None]
    return [(part - rows.mean(0)) @ leading.T for part in parts]
