"""Accuracy against the number of dimensions: a line a method, and the full features as a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.line_axes import draw_mean, literal_legend, plain_axes, write_title
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line, text_size

__all__ = ["dimension_curve"]

_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#667085", "v"))
_DASHES = ((5, 3), (1.5, 2), (6, 2, 1, 2))
_TICK = 9.0


def dimension_curve(
    dimensions: Sequence[int],
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    levels: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    x: str = "dimensions",
    y: str = "accuracy on held-out rows, %",
    title: str | None = None,
) -> Figure:
    """Draw the mean over seeds of each method as a line and its range over seeds as a band.

    Args:
        dimensions: rising, (k,), at least 1; on a logarithmic axis.
        panels: what is measured → method → (seeds, k) percentages, NaN where a method has no model of that size.
        levels: what is measured → name → percentages of the seeds, (seeds,), that need all dimensions: dashed lines.
        x, y: what the axes say.
        title: one line above the picture.

    Returns:
        The figure, 5.2 inches wide for each panel.

    Raises:
        ValueError: for no panel, more than five methods, dimensions that do not rise, or numbers of another shape.

    >>> figure = dimension_curve(
    ...     [2, 4], {"accuracy": {"ours": [[50, 60], [52, 61]]}}, levels={"accuracy": {"all": [62]}}
    ... )
    >>> len(figure.axes)
    1
    """
    sizes = as_numbers("dimensions", dimensions)
    if sizes.ndim != 1 or not len(sizes) or sizes[0] < 1 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"dimensions: expected rising numbers >= 1, got {list(dimensions)}")
    if not panels or not all(panels.values()):
        raise ValueError("panels: expected at least one, with at least one method, got none")
    figure = new_figure(5.2 * len(panels), 4.3)
    width = 1 / len(panels)
    for number, (label, methods) in enumerate(panels.items()):
        if len(methods) > len(_STYLES):
            raise ValueError(f"panels: expected at most {len(_STYLES)} methods, got {len(methods)}")
        ax = figure.add_axes((number * width + 0.13 * width, 0.13, 0.82 * width, 0.7 if title else 0.76))
        _draw(ax, sizes, methods, (levels or {}).get(label, {}))
        plain_axes(ax, x=x, y=y)
        ax.set_title(one_line(label, limit=60), loc="left", fontsize=11, color=INK, pad=8, **LITERAL)
    write_title(figure, title, left=0.13 * width)
    return figure


def _draw(ax: Axes, sizes: np.ndarray, methods: Mapping[str, ArrayLike], levels: Mapping[str, ArrayLike]) -> None:
    handles = []
    for (name, values), (colour, marker) in zip(methods.items(), _STYLES, strict=False):
        table = np.asarray(values, dtype=float)
        if table.ndim != 2 or table.shape[1] != len(sizes):
            raise ValueError(f"{name}: expected shape (seeds, {len(sizes)}), got {table.shape}")
        known = ~np.isnan(table).any(0)
        handles.append(draw_mean(ax, sizes[known], table[:, known], colour=colour, marker=marker))
    for (name, values), dashes in zip(levels.items(), cycle(_DASHES)):
        height = float(as_numbers(name, values).mean())
        handles.append(ax.axhline(height, color=INK, linewidth=1.1, dashes=dashes))
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, _with_room(ax, sizes))
    ax.minorticks_off()
    literal_legend(ax, handles, [*methods, *levels], loc="best", fontsize=8.5)


def _with_room(ax: Axes, sizes: np.ndarray) -> list[str]:
    """A number at each size, but for those that would touch the next that has one."""
    places = ax.transData.transform(np.stack([sizes, np.ones(len(sizes))], 1))[:, 0] * 72 / ax.figure.dpi
    labels, free = [], np.inf
    for size, place in zip(sizes[::-1], places[::-1], strict=True):
        label = f"{int(size):,}"
        half = text_size(label, _TICK)[0] / 2 + 2
        roomy = place + half <= free
        labels.append(label if roomy else "")
        free = place - half if roomy else free
    return labels[::-1]
