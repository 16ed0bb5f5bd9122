"""Errors against the number of answers: a line and a band for each way of asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.line_axes import draw_mean, plain_axes, write_title
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line

__all__ = ["feedback_curve"]

_STYLES = (("#667085", "o"), ("#0072B2", "s"), ("#D55E00", "^"), ("#009E73", "D"), ("#CC79A7", "v"))
_APART = 0.055  # least distance of two labels, as a share of the height


def feedback_curve(
    answers: Sequence[int],
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    title: str | None = None,
) -> Figure:
    """Draw the mean over seeds of each way of asking as a line, their range as a band, and its name at its end.

    Args:
        answers: numbers of answers, rising, (k,); equally far apart in the picture, since cycles double.
        panels: what is measured → way of asking → (seeds, k) numbers.
        title: one line above the picture.

    Returns:
        The figure, 5.5 inches wide for each panel.

    Raises:
        ValueError: for no panel, more than five ways of asking, or numbers of another shape.

    >>> figure = feedback_curve([0, 10, 20], {"error": {"random": [[3, 2, 2]], "active": [[3, 2, 1]]}})
    >>> len(figure.axes)
    1
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels: expected at least one, with at least one way of asking, got none")
    figure = new_figure(5.5 * len(panels), 4.4)
    width = 1 / len(panels)
    for number, (label, ways) in enumerate(panels.items()):
        if len(ways) > len(_STYLES):
            raise ValueError(f"panels: expected at most {len(_STYLES)} ways of asking, got {len(ways)}")
        ax = figure.add_axes((number * width + 0.14 * width, 0.14, 0.6 * width, 0.7 if title else 0.76))
        _draw(ax, answers, ways)
        ax.set_title(one_line(label, limit=60), loc="left", fontsize=11, color=INK, pad=10, **LITERAL)
    write_title(figure, title, left=0.14 * width)
    return figure


def _draw(ax: Axes, answers: Sequence[int], ways: Mapping[str, ArrayLike]) -> None:
    places = np.arange(len(answers))
    ends = []
    for (name, values), (colour, marker) in zip(ways.items(), _STYLES, strict=False):
        table = as_numbers(name, values)
        if table.ndim != 2 or table.shape[1] != len(answers):
            raise ValueError(f"{name}: expected shape (seeds, {len(answers)}), got {table.shape}")
        draw_mean(ax, places, table, colour=colour, marker=marker)
        ends.append((float(table[:, -1].mean()), name, colour))
    ax.set_xticks(places, [f"{count:,}" for count in answers])
    ax.set_xlim(-0.3, len(answers) - 0.7)
    plain_axes(ax, x="answers")
    low, high = ax.get_ylim()
    heights = _spread_out([(value - low) / (high - low) for value, _, _ in ends])
    for (_, name, colour), height in zip(ends, heights, strict=True):
        label = one_line(name, limit=28)
        ax.text(1.02, height, label, transform=ax.transAxes, color=colour, fontsize=10, va="center", **LITERAL)


def _spread_out(heights: Sequence[float]) -> list[float]:
    """The same heights, moved up as far as labels would lie on each other."""
    found = [0.0] * len(heights)
    least = -np.inf
    for i in sorted(range(len(heights)), key=heights.__getitem__):
        least = found[i] = max(heights[i], least + _APART)
    return found
