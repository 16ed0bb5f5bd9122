"""``hsgeo demo``: the main job in small on real data; writes pictures, ``report.json`` and ``report.html``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hyperspectral_geo.atomic_write import require_writable, write_atomically
from hyperspectral_geo.benchmarks.demo_concepts import ConceptFigures, measure_concepts
from hyperspectral_geo.benchmarks.demo_mammals import MammalFigures, measure_mammals
from hyperspectral_geo.benchmarks.demo_report import write_pages
from hyperspectral_geo.benchmarks.demo_retrieval import RetrievalFigures, measure_retrieval
from hyperspectral_geo.benchmarks.table import environment

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(out: Path, *, seed: int = 0, console: Console) -> dict[str, Any]:
    """Compute all figures, print them, and write the folder ``out``.

    Args:
        out: folder for the pictures and the report; made if missing.
        seed: of every random choice.
        console: where tables and progress go.

    Returns:
        What ``report.json`` holds.

    Raises:
        OSError: if ``out`` or a folder on the way to it is a file or not writable; nothing is computed then.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    # Said now rather than after the minute of computing.
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"out: expected a folder, got the file {nearest}; pass another --out")
    require_writable(nearest)
    start = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # training steps are small: a second thread costs more than it brings
    try:
        with Progress(
            TextColumn("{task.description:<34}"), BarColumn(), TimeElapsedColumn(), console=console, transient=False
        ) as progress:
            mammals = measure_mammals(seed, progress)
            concepts = measure_concepts(seed, progress)
            torch.set_num_threads(threads)
            retrieval = measure_retrieval(seed, progress)
            drawing = progress.add_task("pictures and report", total=1)
            out.mkdir(parents=True, exist_ok=True)
            report = _report(mammals, concepts, retrieval, seed)
            write_pages(out, mammals, concepts, retrieval, seed=seed)
            progress.advance(drawing)
    finally:
        torch.set_num_threads(threads)
    report["seconds"] = round(time.perf_counter() - start, 1)
    write_atomically(out / "report.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    for table in (mammals.table(), concepts.table(), retrieval.table()):
        _print(console, table)
    console.print(
        f"{report['seconds']:.0f} s; wrote report.html, report.json and two pictures to {out}/", highlight=False
    )
    return report


def _report(mammals: MammalFigures, concepts: ConceptFigures, retrieval: RetrievalFigures, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "mammals": mammals.figures(),
        "concepts": concepts.figures(),
        "retrieval": retrieval.figures(),
        "environment": environment("geoopt"),
    }


def _print(console: Console, table) -> None:
    """A report table as a rich one."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=table.note, title_justify="left", title_style="", box=rich.box.SIMPLE)
    for i, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if i else "left")
    for row in table.rows:
        shown.add_row(*(Text(cell if isinstance(cell, str) else f"{cell:.3f}") for cell in row))
    console.print(shown)
