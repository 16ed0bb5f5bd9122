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

from hyperspectral_geo.plotting.picture import INK, LITERAL, one_line, text_size

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


def draw_legend(ax: Axes, styles: Sequence[GroupStyle], *, scale: float = 1.0) -> None:
    """A legend below the axes, with the number of points of each group; none if no point has a group.

    All sizes are multiplied by ``scale``; many or long names make the text smaller.
    """
    if all(style.name is None for style in styles):
        return
    names = ["other" if style.name is None else one_line(style.name, limit=30) for style in styles]
    texts = [f"{name} ({len(style.members):,})" for name, style in zip(names, styles, strict=True)]
    size, columns = _legend_layout(texts, width=ax.bbox.width * 72 / ax.figure.dpi / scale)
    size *= scale
    handles = [
        Line2D([], [], linestyle="none", marker=style.marker, color=style.colour, markersize=size * 0.65, label="group")
        for style in styles
    ]
    legend = ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=columns,
        frameon=False,
        fontsize=size,
        labelcolor=INK,
        handletextpad=0.3,
        columnspacing=1.6,
    )
    # Set afterwards: as a label, a name that begins with an underscore would be left out of the legend.
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set(text=text, **LITERAL)


def _legend_layout(texts: Sequence[str], *, width: float) -> tuple[float, int]:
    """Font size and number of columns: as large as three rows allow, in columns of the width of the longest text."""
    size, columns = 11.0, 1
    for size in (11.0, 9.5, 8.0, 7.0):
        longest = max(text_size(text, size)[0] for text in texts)
        columns = max(1, min(len(texts), int(width / (longest + 3.5 * size))))
        rows = -(-len(texts) // columns)
        if rows * size <= 34:
            break
    # With the rows it takes anyway, the fewest columns: 4 + 3 entries rather than 6 + 1.
    return size, -(-len(texts) // -(-len(texts) // columns))
