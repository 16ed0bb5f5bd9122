"""Tables of a report: how cells are written, and their HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Cell", "Table", "clean", "table_html"]

Cell = str | float | int | bool | None
"""What a table holds: text, a number, or ``None`` for no value."""

# Text that reads as a number: 12, −0.5, 1,180, 87.3 %, 0.953 ± 0.002, 1.2e-7, 3.4×, 48 s.
_NUMBER = re.compile(r"[+\-−<>≤≥~≈]?\s*\d[\d,.]*(e[+\-−]?\d+)?\s*([%×°]|±\s*\d[\d.,]*\s*%?|ms|s|x)?", re.IGNORECASE)
# What HTML forbids or UTF-8 cannot encode: control characters except tab and line feed, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Table:
    """Columns, rows and a note that stands below them.

    Floats of one column get equally many decimals, integers their thousands separators, ``None`` a dash. To choose the
    digits, pass text: what reads as a number is aligned as one.

    Raises:
        ValueError: if there are no columns, or a row has more or fewer cells than there are columns.

    >>> Table(("method", "accuracy"), [("plain average", 0.81), ("flag mean", 0.937)]).rows[1]
    ('flag mean', 0.937)
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.columns, str) or not len(self.columns):
            raise ValueError(f"columns: expected a sequence of at least one name, got {self.columns!r}")
        for number, row in enumerate(self.rows):
            if isinstance(row, str) or len(row) != len(self.columns):
                got = "a single text" if isinstance(row, str) else f"{len(row)} cells"
                raise ValueError(f"rows[{number}]: expected {len(self.columns)} cells, one a column, got {got}")


def table_html(table: Table, *, described_by: str) -> str:
    """The table in a box that scrolls sideways by touch or keys; ``described_by`` is the id of its heading."""
    columns = [_column(list(values)) for values in zip(*table.rows, strict=True)] or [([], False)] * len(table.columns)
    head = "".join(
        f'<th scope="col"{_aligned(numeric)}>{clean(name)}</th>'
        for name, (_, numeric) in zip(table.columns, columns, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(texts[i], numeric, first=k == 0) for k, (texts, numeric) in enumerate(columns)) + "</tr>"
        for i in range(len(table.rows))
    )
    caption = f"<caption>{clean(table.note)}</caption>\n" if table.note else ""
    return (
        f'<div class="table" role="region" aria-labelledby="{escape(described_by)}" tabindex="0">\n'
        f"<table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def clean(text: object) -> str:
    """``text`` as HTML that shows it literally, in elements and in quoted attributes alike.

    >>> clean("<b title='x'>&")
    '&lt;b title=&#x27;x&#x27;&gt;&amp;'
    """
    return escape(_UNPRINTABLE.sub("\ufffd", str(text).replace("\r\n", "\n")), quote=True)


def _cell(text: str, numeric: bool, *, first: bool) -> str:
    if first and not numeric:
        return f'<th scope="row">{clean(text)}</th>'
    return f"<td{_aligned(numeric)}>{clean(text)}</td>"


def _aligned(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _column(values: list[Cell]) -> tuple[list[str], bool]:
    """The cells of one column as text, and whether they are numbers, to be aligned at the right."""
    # Numbers of NumPy and torch become Python's own.
    values = [value.item() if hasattr(value, "item") else value for value in values]  # pyright: ignore
    floats = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    pattern = _float_format(floats)
    texts = [_text(value, pattern) for value in values]
    filled = [(v, t) for v, t in zip(values, texts, strict=True) if v is not None]
    numeric = bool(filled) and all(
        not isinstance(v, bool) and (not isinstance(v, str) or _NUMBER.fullmatch(v.strip())) for v, _ in filled
    )
    return texts, numeric


def _text(value: Cell, pattern: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return format(value, pattern).replace("-", "−") if math.isfinite(value) else str(value)
    return value


def _float_format(values: Sequence[float]) -> str:
    """Equally many decimals, to show three digits of the smallest number; a power of ten if that needs too many."""
    sizes = [abs(v) for v in values if v]
    if not sizes:
        return ".1f"
    if min(sizes) < 1e-3 or max(sizes) >= 1e7:
        return ".3g"
    return f",.{min(max(2 - math.floor(math.log10(min(sizes))), 0), 4)}f"
