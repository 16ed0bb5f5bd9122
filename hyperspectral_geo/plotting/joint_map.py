"""A map of several views in their joint space: a point a row and view, thumbnails where there are pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.group_styles import group_styles
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line

__all__ = ["joint_map"]

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

    Args:
        codes: rows of each view in the joint space, (n_v, k), k ≥ 2; row i of each belongs to one thing.
        names: of the views.
        thumbnails: pictures (h, w, 3 or 4) of the first rows, drawn at the points of the first view.
        labels: texts of the first rows, at most 60, written at the points of the second view.
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
    ax = figure.add_axes((0.02, 0.03, 0.96, 0.88 if title else 0.94))
    count = min(map(len, places))
    for other in places[1:]:
        lines = np.stack([places[0][:count], other[:count]], 1)
        ax.add_collection(LineCollection(list(lines), colors="#cbd5e1", linewidths=0.6, zorder=1))
    for style, name, part in zip(group_styles(list(names)), names, places, strict=True):
        ax.scatter(
            part[:, 0], part[:, 1], s=14, color=style.colour, marker=style.marker, zorder=2, label=one_line(name)
        )
    for picture, (x, y) in zip(thumbnails, places[0], strict=False):
        box = OffsetImage(np.asarray(picture), zoom=22 / max(np.asarray(picture).shape[:2]))
        ax.add_artist(AnnotationBbox(box, (x, y), frameon=False, zorder=3))
    for label, (x, y) in zip(labels[:_MOST_LABELS], places[min(1, len(places) - 1)], strict=False):
        ax.annotate(one_line(label, limit=24), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, **LITERAL)
    ax.margins(0.05)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color("#e4e7ec")
    legend = ax.legend(loc="upper right", frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set(color=INK, parse_math=False)
    if title is not None:
        figure.text(0.03, 0.955, one_line(title, limit=90), fontsize=13, color=INK, va="center", **LITERAL)
    return figure


def _leading(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Principal coordinates of all rows together, with signs that make the largest loading positive."""
    rows = np.concatenate(parts)
    centred = rows - rows.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    leading = directions[:2]
    leading = leading * np.sign(leading[np.arange(2), np.abs(leading).argmax(1)])[:, None]
    return [(part - rows.mean(0)) @ leading.T for part in parts]
