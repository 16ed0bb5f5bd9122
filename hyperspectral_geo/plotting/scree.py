"""Singular values in order, on a logarithmic scale, with the edge below which a direction passes for noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_numbers
from hyperspectral_geo.plotting.group_styles import group_styles
from hyperspectral_geo.plotting.picture import INK, LITERAL, fitted_size, new_figure, one_line

__all__ = ["scree_plot"]

_MOST_SPECTRA = 12


def scree_plot(
    spectra: Mapping[str, ArrayLike | Sequence[float]],
    *,
    edges: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw spectra beside each other: the value of each direction over its number, in the order of size.

    Args:
        spectra: for each name singular values ≥ 0, in any order; zeros are left out, as a logarithm has no place for
            them. The first is drawn strongest.
        edges: for some of the names, the noise edge: a broken line in the same colour.
        title: one line above the picture.

    Returns:
        The figure, apart from pyplot's state.

    Raises:
        ValueError: for no or more than twelve spectra, negative or non-finite values, one without a positive value, or
            an edge of a spectrum that is not there or that is not above 0.

    >>> figure = scree_plot({"merged": [3.0, 1.0, 0.1], "cat": [2.0, 0.5]}, edges={"merged": 0.5})
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['merged', 'noise edge of merged', 'cat']
    """
    if not 1 <= len(spectra) <= _MOST_SPECTRA:
        raise ValueError(f"spectra: expected 1 to {_MOST_SPECTRA}, got {len(spectra)}; draw the others apart")
    values = {name: _positive(name, s) for name, s in spectra.items()}
    if unknown := set(edges or {}) - set(values):
        raise ValueError(f"edges: expected names of spectra, got {', '.join(sorted(unknown))}")
    figure = new_figure(8.0, 4.8)
    ax = figure.add_axes((0.12, 0.14, 0.85, 0.74 if title else 0.82))
    for number, (style, (name, s)) in enumerate(zip(group_styles(list(values)), values.items(), strict=True)):
        ax.plot(
            np.arange(1, len(s) + 1),
            s,
            color=style.colour,
            marker=style.marker,
            markersize=5 if len(s) <= 64 else 0,
            linewidth=2.4 if number == 0 else 1.4,
            label=f"spectrum {number}",
            zorder=3 if number == 0 else 2,
        )
        edge = (edges or {}).get(name)
        if edge is not None:
            if not edge > 0:
                raise ValueError(f"edges: expected a number > 0 for {name}, got {edge}; leave it out")
            ax.axhline(edge, color=style.colour, linestyle=(0, (5, 3)), linewidth=1.4, label=f"edge {number}")
    ax.set_yscale("log")
    _dress(ax, values, edges or {})
    if title is not None:
        line = one_line(title, limit=110)
        figure.suptitle(line, fontsize=fitted_size(line, 14.0, width=540.0), color=INK, y=0.965, **LITERAL)
    return figure


def _dress(ax: Axes, values: Mapping[str, np.ndarray], edges: Mapping[str, float]) -> None:
    ax.set_xlabel("direction", color=INK, fontsize=11)
    ax.set_ylabel("singular value", color=INK, fontsize=11)
    numbers = np.concatenate(list(values.values()))
    # powers of ten alone would leave a narrow range with one label or none
    narrow = numbers.max() / numbers.min() < 1e3
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    longest = max(len(s) for s in values.values())
    ax.set_xlim(0.5 if longest < 20 else 0, longest + 0.5)
    ax.tick_params(colors=INK, labelsize=10)
    ax.grid(True, which="major", color="#e4e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    legend = ax.legend(frameon=False, fontsize=10, labelcolor=INK, loc="best")
    texts = []
    for name in values:
        texts.append(one_line(name))
        texts += [f"noise edge of {one_line(name)}"] if name in edges else []
    # Set afterwards: as a label, a name that begins with an underscore would be left out of the legend.
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set(text=text, **LITERAL)


def _positive(name: str, values: ArrayLike | Sequence[float]) -> np.ndarray:
    numbers = as_numbers(name, values).reshape(-1)
    if (numbers < 0).any():
        raise ValueError(f"{name}: expected singular values >= 0, got {numbers.min():g}")
    kept = np.sort(numbers[numbers > 0])[::-1]
    if not len(kept):
        raise ValueError(f"{name}: expected at least one singular value > 0, got none; leave the spectrum out")
    return kept
