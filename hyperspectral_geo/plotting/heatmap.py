"""Principal angles between named subspaces as a heat map, in an order that shows the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_list, as_numbers
from hyperspectral_geo.plotting.picture import INK, LITERAL, fitted_size, new_figure, one_line, text_size

__all__ = ["angle_heatmap", "cluster_order"]

_MOST_ANNOTATED = 24
_TOLERANCE = 1e-3


def angle_heatmap(
    matrix: ArrayLike,
    labels: Sequence[str],
    *,
    unit: Literal["degrees", "radians"] = "degrees",
    title: str | None = None,
    order: Literal["cluster"] | None = "cluster",
) -> Figure:
    """Draw the angles between n subspaces, near ones dark, with similar subspaces beside each other.

    The diagonal is left blank if it is zero, as it is for the angle of a subspace to itself: the colours then span
    the angles between different subspaces. Up to 24 subspaces, every cell shows its value.

    Args:
        matrix: (n, n) angles in radians, symmetric, from 0 to π/2, for instance the means of principal angles.
        labels: n names.
        unit: what the picture shows; the matrix is in radians either way.
        title: one line above the map.
        order: ``"cluster"`` sorts by average-linkage clustering; ``None`` keeps the order given.

    Returns:
        The figure, apart from pyplot's state, to be saved by `save_picture` or its own ``savefig``.

    Raises:
        ValueError: for a matrix that is not square, symmetric, finite and within [0, π/2], or another number of labels.

    >>> figure = angle_heatmap([[0.0, 1.2, 0.3], [1.2, 0.0, 1.1], [0.3, 1.1, 0.0]], ["cat", "car", "dog"])
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['car', 'dog', 'cat']
    """
    angles = _as_angles(matrix)
    count = len(angles)
    names = [one_line(name, limit=32) for name in as_list("labels", labels, count=count)]
    if unit not in ("degrees", "radians"):
        raise ValueError(f"unit: expected 'degrees' or 'radians', got {unit!r}")
    if order not in ("cluster", None):
        raise ValueError(f"order: expected 'cluster' or None, got {order!r}")
    sequence = cluster_order(angles) if order == "cluster" else np.arange(count)
    shown = angles[np.ix_(sequence, sequence)]
    values = np.rad2deg(shown) if unit == "degrees" else shown
    blank = np.eye(count, dtype=bool) & bool((np.diag(shown) < _TOLERANCE).all()) & (count > 1)

    figure, ax, bar = _layout(count, names=names)
    scale = Normalize(*_limits(values[~blank]))
    colours = colormaps["viridis"].with_extremes(bad="#eef0f3")
    image = ax.imshow(np.ma.array(values, mask=blank), cmap=colours, norm=scale, interpolation="nearest")
    _draw_names(ax, [names[i] for i in sequence])
    if count <= _MOST_ANNOTATED:
        _draw_values(ax, values, blank, scale, decimals=0 if unit == "degrees" else 2)
    colour_bar = figure.colorbar(image, cax=bar)
    colour_bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    bar.set_ylabel(f"angle ({unit})", color=INK, fontsize=11)
    bar.tick_params(color=INK, labelcolor=INK, labelsize=10)
    if title is not None:
        line = one_line(title, limit=110)
        size = fitted_size(line, 14.0, width=72 * (figure.get_figwidth() - 0.4))
        figure.suptitle(line, fontsize=size, color=INK, y=1 - 0.3 / figure.get_figheight(), **LITERAL)
    return figure


def cluster_order(distances: Float[np.ndarray, "n n"]) -> Int[np.ndarray, "n"]:
    """The order of the leaves of an average-linkage tree, turned so that neighbours are near each other.

    References:
        Bar-Joseph, Gifford and Jaakkola, "Fast optimal leaf ordering for hierarchical clustering", 2001.
    """
    count = len(distances)
    if count < 3:
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    condensed = squareform(distances, checks=False)
    # The best turning takes time that grows with n⁴ at worst: 0.1 s for 100 subspaces, so not for thousands.
    return leaves_list(linkage(condensed, "average", optimal_ordering=count <= 400)).astype(np.int64)


def _as_angles(matrix: ArrayLike) -> Float[np.ndarray, "n n"]:
    angles = as_numbers("matrix", matrix)
    if angles.ndim != 2 or angles.shape[0] != angles.shape[1] or not angles.size:
        raise ValueError(f"matrix: expected shape (n, n) with n >= 1, got {angles.shape}; take means over other axes")
    if angles.min() < -_TOLERANCE or angles.max() > np.pi / 2 + _TOLERANCE:
        raise ValueError(
            f"matrix: expected angles from 0 to pi/2, got {angles.min():.4g} to {angles.max():.4g}; "
            "convert degrees with np.deg2rad"
        )
    gap = np.abs(angles - angles.T).max()
    if gap > _TOLERANCE:
        raise ValueError(
            f"matrix: expected a symmetric matrix, got entries {gap:.3g} apart; use (matrix + matrix.T) / 2"
        )
    return np.clip((angles + angles.T) / 2, 0, np.pi / 2)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The least and the largest value, or a little around the value if there is only one."""
    low, high = float(values.min()), float(values.max())
    margin = max(1e-6, 0.05 * abs(high)) if high - low < 1e-6 else 0.0
    return low - margin, high + margin


def _layout(count: int, *, names: list[str]) -> tuple[Figure, Axes, Axes]:
    """A figure, its map and its colour bar; the cells shrink with their number, the margin holds the longest name."""
    side = float(np.clip(0.46 * count, 3.0, 11.0))
    margin = 0.3 + max(text_size(name, _font_size(count, side))[0] for name in names) / 72
    width, height = margin + side + 1.3, margin + side + 0.75
    figure = new_figure(width, height)
    ax = figure.add_axes((margin / width, margin / height, side / width, side / height))
    bar = figure.add_axes(((margin + side + 0.2) / width, margin / height, 0.2 / width, side / height))
    return figure, ax, bar


def _font_size(count: int, side: float) -> float:
    """As large as the cells are high, from 5 to 11 points."""
    return float(np.clip(0.75 * 72 * side / count, 5, 11))


def _draw_names(ax: Axes, names: list[str]) -> None:
    """Names at both axes, thinned out where they would be smaller than 5 points; white lines between the cells."""
    count = len(names)
    side = ax.get_position().height * ax.figure.get_figheight()  # pyright: ignore
    step = int(np.ceil(5 / (0.75 * 72 * side / count) - 1e-9)) if count > 1 else 1
    shown = range(0, count, max(step, 1))
    style = {"fontsize": _font_size(count, side), "color": INK, **LITERAL}
    ax.set_yticks(shown, labels=[names[i] for i in shown], **style)
    ax.set_xticks(shown, labels=[names[i] for i in shown], rotation=90, **style)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if count <= 60:
        ax.set_xticks(np.arange(1, count) - 0.5, minor=True)
        ax.set_yticks(np.arange(1, count) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=1.2)
        ax.tick_params(which="minor", length=0)


def _draw_values(
    ax: Axes, values: Float[np.ndarray, "n n"], blank: np.ndarray, scale: Normalize, *, decimals: int
) -> None:
    """The value in each cell, in white on dark colours and in ink on light ones."""
    size = 10 if decimals == 0 else 8
    for row, column in np.argwhere(~blank):
        value = float(values[row, column])
        light = float(scale(value)) > 0.55
        ax.text(
            float(column),
            float(row),
            f"{value:.{decimals}f}",
            ha="center",
            va="center",
            fontsize=size,
            color=INK if light else "white",
            **LITERAL,
        )
