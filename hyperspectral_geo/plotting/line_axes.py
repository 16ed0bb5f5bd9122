"""What pictures of lines share: plain axes, the mean of a table of seeds with its range, a legend, a title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.picture import INK, LITERAL, one_line

__all__ = ["draw_mean", "literal_legend", "plain_axes", "write_title"]


def plain_axes(ax: Axes, *, x: str, y: str = "") -> None:
    """Name both axes, leave a light grid of heights, and take the upper and the right frame away."""
    ax.set_xlabel(x, color=INK, fontsize=10, **LITERAL)
    ax.set_ylabel(y, color=INK, fontsize=10, **LITERAL)
    ax.tick_params(colors=INK, labelsize=9)
    ax.grid(True, axis="y", color="#e4e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def draw_mean(ax: Axes, places: ArrayLike, table: np.ndarray, *, colour: str, marker: str) -> Artist:
    """The mean of ``table`` (seeds, k) at ``places`` (k,) as a line, and its range over the seeds as a band."""
    ax.fill_between(np.asarray(places), table.min(0), table.max(0), color=colour, alpha=0.13, linewidth=0)
    (line,) = ax.plot(places, table.mean(0), color=colour, marker=marker, markersize=5, linewidth=1.8)
    return line


def literal_legend(ax: Axes, handles: Sequence[Artist], names: Sequence[object], **options: Any) -> None:
    """A legend that shows every name, and shows it literally: matplotlib leaves out those that begin with ``_``."""
    numbers = [str(number) for number in range(len(names))]
    veil = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.85}  # where lines leave no room
    legend = ax.legend(handles, numbers, labelcolor=INK, **veil, **options)
    for entry, name in zip(legend.get_texts(), names, strict=True):
        entry.set(text=one_line(name, limit=32), **LITERAL)


def write_title(figure: Figure, title: str | None, *, left: float) -> None:
    """One line above everything, if there is one; ``left`` is a share of the width."""
    if title is not None:
        limit = int(9 * figure.get_size_inches()[0])
        figure.text(left, 0.955, one_line(title, limit=limit), fontsize=13, color=INK, va="center", **LITERAL)
