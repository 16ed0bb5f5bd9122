"""Accuracy against the number of dimensions: a line a method, and the full features as a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line

__all__ = ["dimension_curve"]

_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#667085", "v"))


def dimension_curve(
    dimensions: Sequence[int],
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    levels: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the mean over seeds of each method as a line and its range over seeds as a band.

    Args:
        dimensions: rising, (k,), at least 1; on a logarithmic axis.
        panels: what is measured → method → (seeds, k) percentages, NaN where a method has no model of that size.
        levels: what is measured → name → percentages of the seeds, (seeds,), that need all dimensions: dashed lines.
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
        ax.set_title(one_line(label, limit=60), loc="left", fontsize=11, color=INK, pad=8, **LITERAL)
    if title is not None:
        figure.text(0.13 * width, 0.955, one_line(title, limit=110), fontsize=13, color=INK, va="center", **LITERAL)
    return figure


def _draw(ax: Axes, sizes: np.ndarray, methods: Mapping[str, ArrayLike], levels: Mapping[str, ArrayLike]) -> None:
    for (name, values), (colour, marker) in zip(methods.items(), _STYLES, strict=False):
        table = np.asarray(values, dtype=float)
        if table.ndim != 2 or table.shape[1] != len(sizes):
            raise ValueError(f"{name}: expected shape (seeds, {len(sizes)}), got {table.shape}")
        known = ~np.isnan(table).any(0)
        there, found = sizes[known], table[:, known]
        ax.fill_between(there, found.min(0), found.max(0), color=colour, alpha=0.12, linewidth=0)
        label = one_line(name, limit=32)
        ax.plot(there, found.mean(0), color=colour, marker=marker, markersize=5, linewidth=1.8, label=label)
    for (name, values), dashes in zip(levels.items(), ((5, 3), (1.5, 2), (6, 2, 1, 2)), strict=False):
        height = float(as_numbers(name, values).mean())
        ax.axhline(height, color=INK, linewidth=1.1, dashes=dashes, label=one_line(name, limit=32))
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{int(size)}" for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel("dimensions", color=INK, fontsize=10)
    ax.set_ylabel("accuracy on held-out pictures, %", color=INK, fontsize=10)
    ax.tick_params(colors=INK, labelsize=9)
    ax.grid(True, axis="y", color="#e4e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower right", fontsize=8.5, frameon=False, labelcolor=INK)
