"""Correlations of joint directions, in sample and held out, beside what chance gives."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.line_axes import plain_axes, write_title
from hyperspectral_geo.plotting.picture import LITERAL, new_figure

__all__ = ["shared_directions"]

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#667085"


def shared_directions(
    correlations: ArrayLike,
    held_out: ArrayLike,
    edge: float,
    *,
    chance: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the spectrum that joins two views.

    Args:
        correlations: in sample, one a direction, in order.
        held_out: on rows that a direction has not seen, for the leading ones.
        edge: above which held-out correlations are not chance, even the largest of all: a broken line.
        chance: lower and upper ends of what shuffled rows give, (2, m) for m held-out correlations: a band.
        title: one line above the picture.

    Returns:
        The figure.

    Raises:
        ValueError: for no direction, a band of another length, or numbers that are not finite.

    >>> len(shared_directions([0.9, 0.5], [0.8, 0.1], 0.2).axes[0].lines)
    3
    """
    inside, outside = as_numbers("correlations", correlations), as_numbers("held_out", held_out)
    if inside.ndim != 1 or outside.ndim != 1 or not len(inside):
        raise ValueError(f"correlations: expected at least one a direction, got shape {inside.shape}")
    band = np.zeros((2, 0)) if chance is None else as_numbers("chance", chance)
    if chance is not None and band.shape != (2, len(outside)):
        raise ValueError(f"chance: expected lower and upper ends, shape (2, {len(outside)}), got {band.shape}")
    figure = new_figure(8.0, 4.6)
    ax = figure.add_axes((0.09, 0.13, 0.69, 0.75 if title else 0.83))
    shown = min(len(inside), max(len(outside), 1))
    places = np.arange(1, shown + 1)
    ax.plot(places, inside[:shown], color=_GREY, linewidth=1.6)
    ax.plot(places[: len(outside)], outside[:shown], color=_BLUE, marker="o", markersize=4, linewidth=1.2)
    if band.size:
        ax.fill_between(places[: len(outside)], band[0], band[1], color=_ORANGE, alpha=0.18, linewidth=0)
    ax.axhline(edge, color=_ORANGE, linestyle="--", linewidth=1.4)
    ax.set_xlim(0.5, shown + 0.5)
    ax.set_ylim(min(0.0, float(outside.min(initial=0.0)), float(band.min(initial=0.0))) - 0.03, 1.03)
    plain_axes(ax, x="joint direction", y="correlation between views")
    told = [("in sample", _GREY), ("held out", _BLUE), ("line: 99 % of the\nlargest by chance", _ORANGE)]
    if band.size:
        told.append(("band: 99 % of each\nby chance", _ORANGE))
    height = 0.95
    for label, colour in told:
        ax.text(1.02, height, label, transform=ax.transAxes, color=colour, fontsize=10, va="top", **LITERAL)
        height -= 0.07 + 0.05 * label.count("\n")
    write_title(figure, title, left=0.09)
    return figure
