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
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_disk_points, as_edges, as_list
from hyperspectral_geo.plotting.geodesic import geodesic_arc
from hyperspectral_geo.plotting.group_styles import GroupStyle, draw_legend, group_styles
from hyperspectral_geo.plotting.label_placement import nearest_in_box, place_labels
from hyperspectral_geo.plotting.picture import INK, LITERAL, new_figure, one_line

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
    ringed = _indices((), names, count) if highlight is None else _indices(highlight, names, count)

    ax = new_figure(10, 10).add_axes((0.02, 0.09, 0.96, 0.86)) if ax is None else ax
    _draw_disk(ax, title)
    _draw_edges(ax, xy, pairs, styles)
    _draw_points(ax, xy, styles, ringed)
    draw_legend(ax, styles)
    if names is not None:
        _draw_names(ax, xy, names, (_spread(xy, max_labels) if highlight is None else ringed)[:max_labels])
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


def _draw_disk(ax: Axes, title: str | None) -> None:
    ax.add_patch(Circle((0, 0), 1, facecolor="#f7f8fa", edgecolor="none", zorder=0))
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=1.0, zorder=1.5))
    ax.set(xlim=(-1.16, 1.16), ylim=(-1.04, 1.04), aspect="equal")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(one_line(title, limit=110), fontsize=15, color=INK, pad=10, **LITERAL)


def _draw_edges(
    ax: Axes, xy: Float[np.ndarray, "n 2"], pairs: Int[np.ndarray, "e 2"], styles: Sequence[GroupStyle]
) -> None:
    """All arcs as one collection, each in the colour of its first point, fainter the more there are."""
    if not len(pairs):
        return
    colour = np.zeros((len(xy), 4))
    for style in styles:
        colour[style.members] = to_rgba_array(style.colour)
    colour[:, 3] = np.clip(12 / np.sqrt(len(pairs)), 0.15, 0.6)
    arcs = geodesic_arc(xy[pairs[:, 0]], xy[pairs[:, 1]])
    lines = LineCollection(
        list(arcs), colors=colour[pairs[:, 0]], linewidths=np.clip(30 / np.sqrt(len(pairs)), 0.5, 1.4), zorder=1
    )
    ax.add_collection(lines, autolim=False)


def _draw_points(
    ax: Axes, xy: Float[np.ndarray, "n 2"], styles: Sequence[GroupStyle], ringed: Int[np.ndarray, "k"]
) -> None:
    """A collection a group, those without a group below the others, and above all the ringed points."""
    diameter = np.clip(160 / np.sqrt(max(len(xy), 1)), 4, 10) * (1 - 0.5 * (xy**2).sum(axis=1))
    is_ringed = np.isin(np.arange(len(xy)), ringed)
    for style in reversed(styles):
        for members, ring in (
            (style.members[~is_ringed[style.members]], False),
            (style.members[is_ringed[style.members]], True),
        ):
            if len(members):
                ax.scatter(
                    *xy[members].T,
                    s=np.maximum(diameter[members] + 2, 6) ** 2 if ring else diameter[members] ** 2,
                    c=style.colour,
                    marker=style.marker,
                    linewidths=1.1 if ring else 0.3,
                    edgecolors=INK if ring else "white",
                    zorder=3 if ring else 2 - 0.1 * (style.name is None),
                )


def _draw_names(ax: Axes, xy: Float[np.ndarray, "n 2"], names: list[str], chosen: Int[np.ndarray, "k"]) -> None:
    """Print the names of the chosen points where they hide little, joined to their points by a line if far."""
    if not len(chosen):
        return
    ax.apply_aspect()
    # Placed in points of 1/72 inch, where texts have a size whatever the resolution of the picture will be.
    to_points = Affine2D(ax.transData.get_affine().get_matrix()).scale(_POINTS_PER_INCH / ax.figure.dpi)
    dots = to_points.transform(xy)
    texts = [one_line(names[i]) for i in chosen]
    sizes = np.array([_size(text) for text in texts])
    corners = np.array([ax.viewLim.min, ax.viewLim.max])
    centres, placed = place_labels(dots[chosen], sizes, dots, to_points.transform(corners))
    halo = [withStroke(linewidth=2.6, foreground="white", alpha=0.85)]
    for i, text, size, centre in zip(
        chosen[placed], np.array(texts)[placed], sizes[placed], centres[placed], strict=True
    ):
        end = nearest_in_box(dots[i], centre, size)
        if np.hypot(*(end - dots[i])) > 7:
            line = to_points.inverted().transform(np.stack((dots[i], end)))
            ax.plot(*line.T, color=INK, linewidth=0.7, alpha=0.8, zorder=2.5, path_effects=halo)
        x, y = to_points.inverted().transform(centre)
        ax.text(
            x, y, text, fontsize=_FONT_SIZE, color=INK, ha="center", va="center", zorder=5, path_effects=halo, **LITERAL
        )


def _size(text: str) -> tuple[float, float]:
    """Width and height in points of a line of text, measured without a canvas."""
    width, height, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=_FONT_SIZE), ismath=False)
    return width, max(height, _FONT_SIZE)
