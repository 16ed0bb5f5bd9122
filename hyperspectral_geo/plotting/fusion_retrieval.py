"""Retrieval against the number of training pairs: a line and a band for each method, a panel for each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line

__all__ = ["retrieval_curves"]

_STYLES = (
    ("#D55E00", "^"),
    ("#0072B2", "s"),
    ("#009E73", "D"),
    ("#CC79A7", "v"),
    ("#667085", "o"),
    ("#B8860B", "P"),
)
_COLUMNS = 2


def retrieval_curves(
    panels: Mapping[str, tuple[Sequence[int], Mapping[str, ArrayLike]]],
    *,
    chance: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the mean over seeds of each method as a line over the number of pairs; of the first its range as a band.

    Args:
        panels: data set → (numbers of pairs, rising, (k,); method → (seeds, k) numbers).
        chance: what guessing reaches, as a dotted line.
        title: one line above the picture.

    Returns:
        The figure, two panels a row, with one legend for all.

    Raises:
        ValueError: for no panel, more than six methods, or numbers of another shape.

    >>> figure = retrieval_curves({"digits": ([50, 100], {"ours": [[3, 5], [4, 6]], "rCCA": [[3, 4], [3, 4]]})})
    >>> len(figure.axes)
    1
    """
    if not panels or not all(methods for _, methods in panels.values()):
        raise ValueError("panels: expected at least one, with at least one method, got none")
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    width, height = 5.2 * columns, 3.6 * rows + 0.9
    figure = new_figure(width, height)
    for number, (label, (sizes, methods)) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        left = (column + 0.11) / columns
        bottom = (3.6 * (rows - 1 - row) + 0.55) / height
        ax = figure.add_axes((left, bottom, 0.84 / columns, 2.6 / height))
        _draw(ax, sizes, methods, chance)
        ax.set_title(one_line(label, limit=50), loc="left", fontsize=11, color=INK, **LITERAL)
        if row == rows - 1 or number + columns >= len(panels):
            ax.set_xlabel("training pairs", color=INK, fontsize=10)
    lines = figure.axes[0].get_lines()[: len(next(iter(panels.values()))[1])]
    top = 1 - 0.62 / height
    figure.legend(
        lines,
        [one_line(line.get_label()) for line in lines],
        loc="center left",
        ncols=3 * columns,
        bbox_to_anchor=(0.11 / columns - 0.01, top),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
    )
    if title is not None:
        place = (0.11 / columns, 1 - 0.25 / height)
        figure.text(*place, one_line(title, limit=110), fontsize=13, color=INK, va="center", **LITERAL)
    return figure


def _draw(ax: Axes, sizes: Sequence[int], methods: Mapping[str, ArrayLike], chance: float | None) -> None:
    if len(methods) > len(_STYLES):
        raise ValueError(f"panels: expected at most {len(_STYLES)} methods, got {len(methods)}")
    places = np.arange(len(sizes))
    for number, ((name, values), (colour, marker)) in enumerate(zip(methods.items(), _STYLES, strict=False)):
        table = as_numbers(name, values)
        if table.ndim != 2 or table.shape[1] != len(sizes):
            raise ValueError(f"{name}: expected shape (seeds, {len(sizes)}), got {table.shape}")
        if number == 0:
            ax.fill_between(places, table.min(0), table.max(0), color=colour, alpha=0.13, linewidth=0)
        ax.plot(
            places,
            table.mean(0),
            color=colour,
            marker=marker,
            markersize=5 if number == 0 else 4,
            linewidth=2.2 if number == 0 else 1.3,
            zorder=3 if number == 0 else 2,
            label=name,
        )
    if chance is not None:
        ax.axhline(chance, color=INK, linewidth=1, linestyle=":")
    ax.set_xticks(places, [f"{size:,}" for size in sizes])
    ax.set_ylim(bottom=0)
    ax.tick_params(colors=INK, labelsize=9)
    ax.grid(True, axis="y", color="#e4e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
