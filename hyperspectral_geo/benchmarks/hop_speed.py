"""``hsgeo bench hop-speed``: hop counts and dumps at the size of a Wikipedia."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperspectral_geo.benchmarks import hop_bfs, hop_dumps
from hyperspectral_geo.benchmarks.table import BenchTable, environment
from hyperspectral_geo.benchmarks.timing import one_thread

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Breadth-first search beside scipy, then the dump parser, on one thread."""
    table = BenchTable("hop-speed", environment=environment("scipy"))
    with one_thread():
        table.rows += hop_bfs.rows(quick=quick, progress=progress)
        table.rows += hop_dumps.rows(quick=quick, progress=progress)
    table.notes.append(
        "CPU time of one thread. Search: generated scale-free graphs, 128 sources, sorting of the links included; "
        "the least of three turns. Dumps: generated, gunzip included; a wrong row differs from what was written."
    )
    return table
