"""The Poincaré disk: points, the geodesics between them, and the names of a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_disk_points, as_edges, as_list
from hyperspectral_geo.plotting.geodesic import geodesic_arc
from hyperspectral_geo.plotting.group_styles import GroupStyle, draw_legend, group_styles
from hyperspectral_geo.plotting.label_placement import nearest_in_box, place_labels
from hyperspectral_geo.plotting.picture import INK, LITERAL, fitted_size, new_figure, one_line, text_size

__all__ = ["poincare_disk"]

_FONT_SIZE = 10.0
_POINTS_PER_INCH = 72


def poincare_disk(
    points: ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    edges: ArrayLike | None = None,
    groups: Sequence[Any] | ArrayLike | None = None,
    highlight: Sequence[int | str] | ArrayLike | None = None,
    title: str | None = None,
    max_labels: int = 30,
    ax: Axes | None = None,
) -> Figure:
    """Draw points of the hyperbolic plane, geodesics between them, and the names of those that are highlighted.

    Geodesics are arcs that meet the rim at right angles. A dot shrinks towards the rim, as everything does there.
    Names that find no room are left out rather than printed over each other; names are text, never formulas.

    Args:
        points: (n, 2), real, of norm below 1: the Poincaré model with curvature −1.
        labels: n names.
        edges: (e, 2) integers, rows of two points to join, such as (child, parent); a line takes the group colour of
            the first.
        groups: n names or numbers that choose colour and marker; ``None`` means no group. Of more than 28 groups the
            smallest are drawn as points without one.
        highlight: points to ring and name, by index or by label, the most important first; by default up to
            ``max_labels`` points spread over the disk.
        title: one line above the disk.
        max_labels: the most names to print.
        ax: axes to draw in; by default a new figure of 10 × 10 inches, apart from pyplot's state.

    Returns:
        The figure, to be saved by `save_picture` or its own ``savefig``.

    Raises:
        ValueError: for a wrong shape or length, NaN, points outside the disk, an index out of range, unknown names.

    >>> figure = poincare_disk([[0.0, 0.0], [0.6, 0.1]], labels=["animal", "dog"], edges=[[1, 0]])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['animal', 'dog']
    """
    xy = as_disk_points("points", points)
    if xy.ndim != 2:
        raise ValueError(f"points: expected shape (n, 2), got {xy.shape}; reshape them to one row a point")
    if isinstance(max_labels, bool) or not isinstance(max_labels, int) or max_labels < 0:
        raise ValueError(f"max_labels: expected an integer of at least 0, got {max_labels!r}")
    count = len(xy)
    names = None if labels is None else [str(name) for name in as_list("labels", labels, count=count)]
    pairs = as_edges("edges", () if edges is None else edges, count=count)
    styles = group_styles([None] * count if groups is None else as_list("groups", groups, count=count))
    if highlight is None:
        highlight = _spread(xy, 0 if names is None else max_labels)
    ringed = _indices(highlight, names, count)

    ax = new_figure(10.0, 10.0).add_axes((0.02, 0.09, 0.96, 0.86)) if ax is None else ax
    ax.set(xlim=(-1.16, 1.16), ylim=(-1.04, 1.04), aspect="equal")
    ax.apply_aspect()
    scale = _scale(ax)
    _draw_disk(ax, title, scale)
    _draw_edges(ax, xy, pairs, styles, scale)
    _draw_points(ax, xy, styles, ringed, scale)
    draw_legend(ax, styles, scale=scale)
    if names is not None:
        _draw_names(ax, xy, names, ringed[:max_labels], scale)
    figure = ax.figure
    return figure.figure if isinstance(figure, SubFigure) else figure


def _indices(highlight: Any, names: list[str] | None, count: int) -> Int[np.ndarray, "k"]:
    """The highlighted points by index, each once, in the order given."""
    number = {name: i for i, name in reversed(list(enumerate(names or ())))}
    items = highlight.tolist() if hasattr(highlight, "tolist") else list(highlight)
    for item in items:
        if isinstance(item, str):
            if item not in number:
                raise ValueError(f"highlight: expected names among labels, got {item!r}; pass labels that hold it")
        elif isinstance(item, bool) or not hasattr(item, "__index__") or not 0 <= int(item) < count:
            raise ValueError(f"highlight: expected names, or indices from 0 to {count - 1}, got {item!r}")
    found = [number[item] if isinstance(item, str) else int(item) for item in items]
    return np.array(list(dict.fromkeys(found)), dtype=np.int64)


def _spread(xy: Float[np.ndarray, "n 2"], most: int) -> Int[np.ndarray, "k"]:
    """At most ``most`` points far from each other: first the one nearest to the centre, then always the farthest."""
    chosen: list[int] = []
    gap = -np.hypot(xy[:, 0], xy[:, 1])
    while len(chosen) < min(most, len(xy)):
        chosen.append(int(gap.argmax()))
        away = np.hypot(*(xy - xy[chosen[-1]]).T)
        gap = np.minimum(gap, away) if len(chosen) > 1 else away
        gap[chosen] = -np.inf
    return np.array(chosen, dtype=np.int64)


def _scale(ax: Axes) -> float:
    """What texts and dots are multiplied by: 1 in the figure made here, less in smaller axes."""
    height = ax.bbox.height * _POINTS_PER_INCH / ax.figure.dpi
    return float(np.clip(height / 620, 0.45, 1.0))


def _draw_disk(ax: Axes, title: str | None, scale: float) -> None:
    ax.add_patch(Circle((0, 0), 1, facecolor="#f7f8fa", edgecolor="none", zorder=0))
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=scale, zorder=1.5))
    ax.set_axis_off()
    if title is not None:
        line = one_line(title, limit=110)
        size = fitted_size(line, 15 * scale, width=ax.bbox.width * _POINTS_PER_INCH / ax.figure.dpi)
        ax.set_title(line, fontsize=size, color=INK, pad=10 * scale, **LITERAL)


def _draw_edges(
    ax: Axes, xy: Float[np.ndarray, "n 2"], pairs: Int[np.ndarray, "e 2"], styles: Sequence[GroupStyle], scale: float
) -> None:
    """All arcs as one collection, each in the colour of its first point, fainter the more there are."""
    if not len(pairs):
        return
    colour = np.zeros((len(xy), 4))
    for style in styles:
        colour[style.members] = to_rgba_array(style.colour)
    colour[:, 3] = np.clip(12 / np.sqrt(len(pairs)), 0.15, 0.6)
    arcs = geodesic_arc(xy[pairs[:, 0]], xy[pairs[:, 1]])
    width = scale * float(np.clip(30 / np.sqrt(len(pairs)), 0.5, 1.4))
    lines = LineCollection(list(arcs), colors=colour[pairs[:, 0]], linewidths=width, zorder=1)
    ax.add_collection(lines, autolim=False)


def _draw_points(
    ax: Axes,
    xy: Float[np.ndarray, "n 2"],
    styles: Sequence[GroupStyle],
    ringed: Int[np.ndarray, "k"],
    scale: float,
) -> None:
    """A collection a group, those without a group below the others, and above all the ringed points."""
    diameter = scale * np.clip(160 / np.sqrt(max(len(xy), 1)), 4, 10) * (1 - 0.5 * (xy**2).sum(axis=1))
    is_ringed = np.isin(np.arange(len(xy)), ringed)
    plain = {"linewidths": 0.3 * scale, "edgecolors": "white", "zorder": 2}
    ring = {"linewidths": 1.1 * scale, "edgecolors": INK, "zorder": 3}
    for style in reversed(styles):
        look = {"c": style.colour, "marker": style.marker}
        some = style.members[~is_ringed[style.members]]
        ax.scatter(*xy[some].T, s=diameter[some] ** 2, **look, **plain)
        some = style.members[is_ringed[style.members]]
        ax.scatter(*xy[some].T, s=np.maximum(diameter[some] + 2 * scale, 6 * scale) ** 2, **look, **ring)


def _draw_names(
    ax: Axes, xy: Float[np.ndarray, "n 2"], names: list[str], chosen: Int[np.ndarray, "k"], scale: float
) -> None:
    """Print the names of the chosen points where they hide little, joined to their points by a line if far."""
    if not len(chosen):
        return
    # Counted in points of 1/72 inch, in which texts have a size whatever the resolution of the picture will be.
    to_points = Affine2D(ax.transData.get_affine().get_matrix()).scale(_POINTS_PER_INCH / ax.figure.dpi / scale)
    dots = to_points.transform(xy)
    texts = [one_line(names[i]) for i in chosen]
    sizes = np.array([text_size(text, _FONT_SIZE) for text in texts])
    corners = np.array([ax.viewLim.min, ax.viewLim.max])
    turn = np.linspace(0, 2 * np.pi, 500)
    rim = to_points.transform(np.stack((np.cos(turn), np.sin(turn)), axis=1))
    centres, placed = place_labels(dots[chosen], sizes, np.concatenate((dots, rim)), to_points.transform(corners))
    halo = [withStroke(linewidth=2.6 * scale, foreground="white", alpha=0.85)]
    font = {"fontsize": _FONT_SIZE * scale, "color": INK, "ha": "center", "va": "center", "path_effects": halo}
    for k in np.flatnonzero(placed):
        anchor, end = dots[chosen[k]], nearest_in_box(dots[chosen[k]], centres[k], sizes[k])
        if np.hypot(*(end - anchor)) > 7:
            line = to_points.inverted().transform(np.stack((anchor, end)))
            ax.plot(*line.T, color=INK, linewidth=0.7 * scale, alpha=0.8, zorder=2.5, path_effects=halo)
        x, y = to_points.inverted().transform(centres[k])
        ax.text(x, y, texts[k], zorder=5, **font, **LITERAL)
