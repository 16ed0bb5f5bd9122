"""Colour and marker of each group of points, told apart with every common colour vision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hyperspectral_geo.plotting.picture import INK, LITERAL, one_line

__all__ = ["GroupStyle", "draw_legend", "group_styles"]

# Okabe and Ito (2008) without their yellow, which is lost on white, and with a violet in the place of black.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4B2E83")
_MARKERS = ("o", "s", "^", "D")
_NO_GROUP = "#8a8f98"


@dataclass(frozen=True)
class GroupStyle:
    """How the points ``members`` of one group are drawn; ``name`` is ``None`` for points without a group."""

    name: str | None
    colour: str
    marker: str
    members: Int[np.ndarray, "m"]


def group_styles(groups: Sequence[Any]) -> list[GroupStyle]:
    """One style a group, the largest group first, and last the points whose group is ``None``, in grey.

    Seven colours, then the same with other markers; what is beyond 28 groups is drawn like points without one.

    >>> [(style.name, len(style.members)) for style in group_styles(["cat", "dog", "dog", None])]
    [('dog', 2), ('cat', 1), (None, 1)]
    """
    names = [None if group is None else str(group) for group in groups]
    most_common = [name for name, _ in Counter(name for name in names if name is not None).most_common()]
    shown = most_common[: len(_COLOURS) * len(_MARKERS)]
    members: dict[str | None, list[int]] = {name: [] for name in (*shown, None)}
    for i, name in enumerate(names):
        members[name if name in members else None].append(i)
    return [
        GroupStyle(
            name,
            _NO_GROUP if name is None else _COLOURS[rank % len(_COLOURS)],
            _MARKERS[0 if name is None else rank // len(_COLOURS)],
            np.array(indices, dtype=np.int64),
        )
        for rank, (name, indices) in enumerate(members.items())
        if indices
    ]


def draw_legend(ax: Axes, styles: Sequence[GroupStyle]) -> None:
    """A legend below the axes, with the number of points of each group; none if no point has a group."""
    if all(style.name is None for style in styles):
        return
    handles = [
        Line2D([], [], linestyle="none", marker=style.marker, color=style.colour, markersize=7, label="group")
        for style in styles
    ]
    legend = ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=min(len(styles), 5),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handletextpad=0.3,
        columnspacing=1.6,
    )
    # Set afterwards: as a label, a name that begins with an underscore would be left out of the legend.
    for text, style in zip(legend.get_texts(), styles, strict=True):
        name = "other" if style.name is None else one_line(style.name, limit=30)
        text.set(text=f"{name} ({len(style.members):,})", **LITERAL)
