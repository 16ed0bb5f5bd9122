"""Hop counts against predicted distances: for each count how the predictions are spread, and how many there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.picture import INK, LITERAL, fitted_size, new_figure, one_line

__all__ = ["hop_scatter"]

_BODY, _EDGE, _LINE = "#9ec5e8", "#2b6ca3", "#c2410c"
_BINS = 160
_MOST_COUNTS = 40
_FEW = 30  # predictions below which dots say more than a shape


def hop_scatter(
    predicted: Any,
    hops: ArrayLike,
    *,
    where: ArrayLike | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw, for every true hop count, a violin of the predicted distances, their quartiles and how many pairs it has.

    A violin is a smoothed histogram of all predictions, as wide as all others; the bar inside goes from the first to
    the third quartile, the dot is the median. Below 30 pairs each is a dot. On the dashed line a prediction is right.
    The corner has R² = 1 − Σ(d̂ − h)² / Σ(h − h̄)² and the average distortion, the mean of |d̂/h − 1|.

    Args:
        predicted: distances in hops, of the shape of ``hops``; or a model whose ``distances()`` gives them.
        hops: whole numbers, at most 40 different ones; pairs with a number below 1 (a node and itself; no walk) are
            left out.
        where: which pairs to draw, of the shape of ``hops``, such as those held out from training; by default all.
        title: one line above the picture.
        ax: axes to draw in; by default a new figure of 8 × 6 inches.

    Returns:
        The figure, to be saved by `save_picture` or its own ``savefig``.

    Raises:
        ValueError: for shapes that differ, NaN, hop counts that are not whole or too many, or no pair to draw.

    >>> figure = hop_scatter([[0, 1.2], [2.1, 0]], [[0, 1], [2, 0]])
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['1', '2']
    """
    guess, true = _pairs(predicted, hops, where)
    counts = np.unique(true)
    if len(counts) > _MOST_COUNTS:
        raise ValueError(f"hops: expected at most {_MOST_COUNTS} different counts, got {len(counts)}; leave some out")
    ax = new_figure(8.0, 6.0).add_axes((0.09, 0.12, 0.885, 0.79 if title else 0.85)) if ax is None else ax
    low, high = min(guess.min(), counts[0]), max(guess.max(), counts[-1])
    room = 0.04 * (high - low) or 0.5
    ax.set_ylim(low - room, high + 2.6 * room)  # above: the corner and the legend
    ax.set_xlim(counts[0] - 0.7, counts[-1] + 0.7)
    ax.plot(counts[[0, -1]] + [-0.5, 0.5], counts[[0, -1]] + [-0.5, 0.5], color=_LINE, dashes=(5, 3), linewidth=1.4)
    for count in counts:
        _draw_violin(ax, count, guess[true == count], low, high)
    _dress(ax, guess, true, counts, title)
    figure = ax.figure
    return figure.figure if isinstance(figure, SubFigure) else figure


def _pairs(predicted: Any, hops: Any, where: Any) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Predictions and hop counts of the pairs to draw."""
    true = as_numbers("hops", hops)
    guess = as_numbers("predicted", predicted.distances() if hasattr(predicted, "distances") else predicted)
    if guess.shape != true.shape:
        raise ValueError(f"predicted: expected shape {true.shape} like hops, got {guess.shape}")
    drawn = true >= 1
    if where is not None:
        chosen = np.asarray(where)
        if chosen.shape != true.shape or chosen.dtype != bool:
            raise ValueError(f"where: expected booleans of shape {true.shape}, got {chosen.dtype} {chosen.shape}")
        drawn = drawn & chosen
    guess, true = guess[drawn], true[drawn]
    if not len(true):
        raise ValueError("hops: expected pairs with a hop count of at least 1, got none")
    if (true != np.round(true)).any():
        first = true[true != np.round(true)][0]
        raise ValueError(f"hops: expected whole numbers, got {first:g}; round sums of lengths to draw them")
    return guess, true


def _draw_violin(ax: Axes, count: float, guess: Float[np.ndarray, " k"], low: float, high: float) -> None:
    """A shape around x = count, or dots where there are too few for one."""
    if len(guess) < _FEW:
        ax.plot(np.full(len(guess), count), guess, "o", color=_EDGE, markersize=4, alpha=0.7, linewidth=0)
    else:
        edges = np.linspace(low, high, _BINS + 1)
        height = np.histogram(guess, edges)[0].astype(float)
        kernel = np.exp(-0.5 * np.linspace(-2, 2, 7) ** 2)
        height = np.convolve(height, kernel / kernel.sum(), mode="same")
        middle = (edges[1:] + edges[:-1]) / 2
        seen = height > 0.002 * height.max()
        width = 0.42 * height / height.max()
        ax.fill_betweenx(middle, count - width, count + width, where=seen, color=_BODY, edgecolor=_EDGE, linewidth=0.6)
    first, median, third = np.quantile(guess, [0.25, 0.5, 0.75])
    ax.plot([count, count], [first, third], color=INK, linewidth=4, solid_capstyle="butt", zorder=3)
    ax.plot([count], [median], "o", color="white", markeredgecolor=INK, markersize=6, zorder=4)


def _dress(ax: Axes, guess: np.ndarray, true: np.ndarray, counts: np.ndarray, title: str | None) -> None:
    ax.set_xticks(counts, [f"{count:.0f}" for count in counts])
    style = {"ha": "center", "va": "top", "fontsize": 8.5, "color": "#667085", "transform": ax.get_xaxis_transform()}
    for count in counts[:: -(-len(counts) // 16)]:
        ax.text(count, -0.062, _short(int((true == count).sum())), **style, **LITERAL)
    ax.set_xlabel("hops, and how many pairs", color=INK, fontsize=11, labelpad=16)
    ax.set_ylabel("predicted distance", color=INK, fontsize=11)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(colors=INK, labelsize=10)
    ax.grid(True, axis="y", color="#e4e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    variance = ((true - true.mean()) ** 2).sum()
    r2 = f"R² = {1 - ((guess - true) ** 2).sum() / variance:.3f}" if variance else "R² undefined: one hop count"
    text = f"{r2}\naverage distortion {np.abs(guess / true - 1).mean():.3f}"
    ax.text(0.015, 0.985, text, transform=ax.transAxes, ha="left", va="top", fontsize=11, color=INK, **LITERAL)
    if title is not None:
        line = one_line(title, limit=110)
        ax.set_title(line, fontsize=fitted_size(line, 14.0, width=500.0), color=INK, pad=10, **LITERAL)


def _short(number: int) -> str:
    """A count in at most four characters or so: 468, 14.7k, 9.68M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
