"""What all pictures share: a figure without a display, text that is taken literally, and PNG bytes."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from hyperspectral_geo.atomic_write import write_atomically

__all__ = ["INK", "LITERAL", "fitted_size", "new_figure", "one_line", "png_bytes", "save_picture", "text_size"]

INK = "#1f2430"
"""Colour of text and outlines."""

LITERAL: dict[str, Any] = {"parse_math": False, "usetex": False}
"""Properties of a text in which ``$`` and backslashes are themselves: names are data, not formulas."""


def new_figure(width: float, height: float) -> Figure:
    """A white figure of this size in inches that no window, backend or pyplot state knows of."""
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("none")  # whatever the reader's own settings say: places are computed here
    FigureCanvasAgg(figure)
    return figure


def one_line(text: object, *, limit: int = 40) -> str:
    """``text`` on one line: control characters and runs of space become a space, and an ellipsis cuts it at ``limit``.

    >>> one_line("dog\\nn.01"), one_line("a" * 50, limit=4)
    ('dog n.01', 'aaa…')
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def text_size(text: str, size: float) -> tuple[float, float]:
    """Width and height, in points of 1/72 inch, of a line of text in the default font, measured without a canvas."""
    with warnings.catch_warnings():
        # A letter that the font lacks is warned of when it is drawn; here it would be a second time.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        width, height, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return width, max(height, size)


def fitted_size(text: str, size: float, *, width: float) -> float:
    """``size``, or the font size at which the line of text is ``width`` points wide if that is smaller."""
    return min(size, size * width / max(text_size(text, size)[0], 1.0))


def png_bytes(figure: Figure, *, dpi: int = 160) -> bytes:
    """The figure as a PNG of ``dpi`` pixels an inch; equal figures give equal bytes with one version of matplotlib."""
    buffer = io.BytesIO()
    # Without the line that names the version of matplotlib.
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()


def save_picture(path: str | os.PathLike[str], figure: Figure, *, dpi: int = 160) -> Path:
    """Write the figure as a PNG file that is either whole or absent, and return its path.

    Raises:
        ValueError: if the name does not end in ``.png``.
        OSError: if the folder is missing or not writable.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"path: expected a name that ends in .png, got {Path(path).name!r}; other formats: savefig")
    return write_atomically(path, png_bytes(figure, dpi=dpi))
