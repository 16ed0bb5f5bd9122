"""What a benchmark returns: rows of figures beside their peers and bars, with how and where they were measured."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

__all__ = ["BenchTable", "Row", "environment", "worst"]


@dataclass(frozen=True)
class Row:
    """One figure: ``value`` against ``bar``, lower or higher being better, with the interval over seeds and repeats.

    ``ours`` and ``peer`` are the two measurements behind a ratio, as text with units. A row without a bar informs.
    """

    figure: str
    value: float
    bar: float | None = None
    better: Literal["lower", "higher"] = "higher"
    interval: tuple[float, float] | None = None
    ours: str = ""
    peer: str = ""
    unit: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the bar is reached; ``None`` without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar


@dataclass
class BenchTable:
    """Rows, notes, pictures by name, and the environment of one run."""

    name: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Figure] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print the table, then notes and environment; in a file or pipe as wide as the rows need."""
        import rich.box
        from rich.console import Console as WideConsole
        from rich.table import Table
        from rich.text import Text

        if not console.is_terminal:
            console = WideConsole(file=console.file, width=170)
        table = Table(title=f"hsgeo bench {self.name}", title_justify="left", box=rich.box.SIMPLE)
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column in ("figure", "ours", "peer") else "right")
        colours = {"ok": "green", "missed": "red", "": ""}
        for row in self.rows:
            table.add_row(*(Text(cell, colours.get(cell, "")) for cell in _cells(row)))
        console.print(table)
        for note in (self.summary, *self.notes):
            console.print(Text(note))
        console.print(Text(self._environment_line(), "dim"))

    @property
    def summary(self) -> str:
        """How many bars were reached."""
        judged = [row for row in self.rows if row.passed is not None]
        return f"{sum(bool(row.passed) for row in judged)} of {len(judged)} bars reached."

    def to_markdown(self, *, command: str) -> str:
        """The table as a page for the documentation, with the command that made it."""
        lines = [f"# hsgeo bench {self.name}", "", f"Made by `{command}`. {self.summary}", ""]
        lines += ["| " + " | ".join(_COLUMNS) + " |", "|---|--:|--:|---|--:|---|---|"]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row)) + " |" for row in self.rows]
        for note in (*self.notes, self._environment_line() + "."):
            lines += ["", note]
        lines += [part for name, file in self._picture_files().items() for part in ("", f"![{name}]({file})")]
        return "\n".join(lines) + "\n"

    def save_pictures(self, folder: Path) -> None:
        """Write the pictures that ``to_markdown`` names, as PNG."""
        from hyperspectral_geo.plotting.picture import save_picture

        for name, file in self._picture_files().items():
            save_picture(folder / file, self.pictures[name], dpi=110)

    def _picture_files(self) -> dict[str, str]:
        return {name: f"{self.name}-{name.replace(' ', '-')}.png" for name in self.pictures}

    def _environment_line(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.environment.items())

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON, which has no NaN and no infinity: these become the texts "nan", "inf" and "-inf"."""
        rows = [{**asdict(row), "passed": row.passed} for row in self.rows]
        return {
            "name": self.name,
            "rows": [{key: _for_json(value) for key, value in row.items()} for row in rows],
            "notes": self.notes,
            "environment": self.environment,
        }


_COLUMNS = ("figure", "measured", "bar", "", "interval", "ours", "peer")


def _cells(row: Row) -> tuple[str, ...]:
    sign = "≤" if row.better == "lower" else "≥"
    return (
        row.figure,
        f"{_number(row.value)}{row.unit}",
        "" if row.bar is None else f"{sign} {_number(row.bar)}{row.unit}",
        {True: "ok", False: "missed", None: ""}[row.passed],
        "" if row.interval is None else f"{_number(row.interval[0])} – {_number(row.interval[1])}",
        row.ours,
        row.peer,
    )


def worst(errors: Iterable[float]) -> float:
    """Largest error; a NaN counts as infinite, where ``max`` would pass over it."""
    return max(math.inf if math.isnan(error) else error for error in errors)


def _for_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_for_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:.1e}" if abs(value) < 1e6 and abs(value) < 0.01 else f"{value:,.0f}"


def environment(*packages: str) -> dict[str, str]:
    """Versions, threads, BLAS and processor of this process, for ``BenchTable.environment``."""
    found = {"Python": platform.python_version(), "processor": platform.processor() or platform.machine()}
    for package in ("torch", "numpy", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["torch threads"] = str(torch.get_num_threads())
    found["torch BLAS"] = "MKL" if torch.backends.mkl.is_available() else "other"
    if "OPENBLAS_CORETYPE" in os.environ:
        found["OPENBLAS_CORETYPE"] = f"{os.environ['OPENBLAS_CORETYPE']} (slows NumPy peers: unset it)"
    found["platform"] = sys.platform
    return found
