"""Whose a merged module is, layer by layer: stacked shares of the energy, and beside them the interference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_list, as_numbers
from hyperspectral_geo.plotting.group_styles import group_styles
from hyperspectral_geo.plotting.picture import INK, LITERAL, fitted_size, new_figure, one_line, text_size

__all__ = ["attribution_bars"]

_ROW = 0.24
_MOST_HEIGHT = 16.0
_TOLERANCE = 1e-3
_HATCHES = (None, "//", "..", "xx")
_MARKERS = ("o", "s", "^", "D")


def attribution_bars(
    shares: ArrayLike,
    labels: Sequence[str],
    modules: Sequence[str],
    *,
    interference: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a bar a layer, parted by the modules' shares, and if given its interference beside it.

    Args:
        shares: (n, t) numbers ≥ 0; a row sums to one, or to zero where no module has a part.
        labels: n names of layers, drawn from above in this order.
        modules: t names.
        interference: (n,) signed numbers; below zero the modules cancel.
        title: one line above the picture.

    Returns:
        The figure, apart from pyplot's state.

    Raises:
        ValueError: for shares of another shape, below zero, or of another sum; another number of names.

    >>> figure = attribution_bars([[0.75, 0.25], [0.5, 0.5]], ["layer 1", "layer 2"], ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['layer 1', 'layer 2']
    """
    parts = _as_shares(shares)
    rows = [one_line(name, limit=56) for name in as_list("labels", labels, count=len(parts))]
    names = as_list("modules", modules, count=parts.shape[1])
    signed = None if interference is None else as_numbers("interference", interference)
    if signed is not None and signed.shape != (len(parts),):
        raise ValueError(f"interference: expected shape ({len(parts)},), one a layer, got {signed.shape}")
    figure, ax, side = _layout(rows, names, beside=signed is not None, title=title)
    _draw_shares(ax, parts, rows, names)
    if side is not None and signed is not None:
        _draw_interference(side, signed)
    return figure


def _as_shares(shares: ArrayLike) -> Float[np.ndarray, "n t"]:
    parts = as_numbers("shares", shares)
    if parts.ndim != 2 or not parts.size:
        raise ValueError(f"shares: expected shape (n, t) with n, t >= 1, got {parts.shape}")
    sums = parts.sum(1)
    wrong = np.nonzero((np.abs(sums - 1) > _TOLERANCE) & (np.abs(sums) > _TOLERANCE))[0]
    if (parts < -1e-9).any() or len(wrong):
        row = int(wrong[0]) if len(wrong) else int(np.argmin(parts.min(1)))
        raise ValueError(f"shares: expected numbers >= 0 that sum to 1 in each row, got {parts[row]} in row {row}")
    return np.clip(parts, 0, 1)


def _layout(rows: list[str], names: list[str], *, beside: bool, title: str | None) -> tuple[Figure, Axes, Axes | None]:
    """Rows of equal height, until there are so many that the picture would be too tall; room for names and legend."""
    height = float(np.clip(_ROW * len(rows), 1.0, _MOST_HEIGHT))
    margin = 0.25 + max(text_size(row, _font(len(rows), height))[0] for row in rows) / 72
    top = (0.55 if title else 0.15) + 0.3 * _legend_rows(names)
    width, bars = margin + (7.1 if beside else 5.2), 4.9
    full = height + top + 0.65
    figure = new_figure(width, full)
    ax = figure.add_axes((margin / width, 0.6 / full, bars / width, height / full))
    side = None
    if beside:
        side = figure.add_axes(((margin + bars + 0.4) / width, 0.6 / full, 1.6 / width, height / full))
    if title is not None:
        line = one_line(title, limit=110)
        size = fitted_size(line, 14.0, width=72 * (width - 0.4))
        figure.suptitle(line, fontsize=size, color=INK, y=1 - 0.25 / full, **LITERAL)
    return figure, ax, side


def _font(count: int, height: float) -> float:
    return float(np.clip(0.62 * 72 * height / count, 4.5, 10))


def _legend_rows(names: Sequence[str]) -> int:
    return -(-len(names) // 4)


def _draw_shares(ax: Axes, parts: Float[np.ndarray, "n t"], rows: list[str], names: list[str]) -> None:
    at = np.arange(len(rows))
    left = np.zeros(len(rows))
    for number, style in enumerate(group_styles([str(i) for i in range(len(names))])):
        hatch = _HATCHES[_MARKERS.index(style.marker)]
        ax.barh(
            at, parts[:, number], left=left, height=0.82, color=style.colour, hatch=hatch, edgecolor="white",
            linewidth=0.4, label=f"module {number}",
        )  # fmt: skip
        left += parts[:, number]
    size = _font(len(rows), ax.get_position().height * ax.figure.get_figheight())  # pyright: ignore
    ax.set_yticks(at, labels=rows, fontsize=size, color=INK, **LITERAL)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the energy", color=INK, fontsize=10)
    ax.tick_params(axis="x", colors=INK, labelsize=9)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    legend = ax.legend(
        ncols=min(4, len(names)), loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, fontsize=9.5,
        labelcolor=INK, handlelength=1.2, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip
    for entry, name in zip(legend.get_texts(), names, strict=True):
        entry.set(text=one_line(name, limit=22), **LITERAL)


def _draw_interference(ax: Axes, signed: Float[np.ndarray, "n"]) -> None:
    at = np.arange(len(signed))
    # The colours of "a little more" and "a little less" of a map for signed numbers that all readers tell apart.
    ax.barh(at, signed, height=0.82, color=np.where(signed < 0, "#D55E00", "#0072B2"), linewidth=0)
    reach = max(float(np.abs(signed).max()), 0.05)
    ax.set_xlim(-1.1 * reach, 1.1 * reach)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_ylim(len(signed) - 0.4, -0.6)
    ax.set_yticks([])
    ax.set_xlabel("interference", color=INK, fontsize=10)
    ax.tick_params(axis="x", colors=INK, labelsize=9)
    ax.spines[["top", "right", "left"]].set_visible(False)
