"""``hsgeo bench hop-nouns``: all 82,115 nouns of WordNet in 10, 5 and 2 hyperbolic dimensions, and Euclidean."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import Geometry, HopGraph, LinkSoftmax, fit, reconstruction

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

STEPS = 20_000
_OBJECTIVE = LinkSoftmax(sources=1024, negatives=512, run=32)
_RUNS: tuple[tuple[Geometry, int, int], ...] = (
    ("hyperbolic", 10, STEPS),
    ("euclidean", 10, STEPS),
    ("hyperbolic", 5, STEPS // 2),
    ("hyperbolic", 2, STEPS // 4),
)
_JUDGED = 4096


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """One seed of each; the first is judged on all links, the others on those of some concepts drawn at random."""
    table = BenchTable("hop-nouns", environment=environment())
    nouns = load_wordnet("mammals" if quick else "nouns")
    graph = HopGraph.from_edges(nouns.edges, names=nouns.names)
    for number, (geometry, dim, steps) in enumerate(_RUNS):
        steps = 100 if quick else steps
        label = f"{geometry}, d = {dim}"
        bar = progress.add_task(f"hop-nouns: {label}", total=steps)
        start = time.process_time()
        model = fit(
            graph,
            dim=dim,
            geometry=geometry,
            objective=_OBJECTIVE,
            steps=steps,
            progress=lambda step, loss, bar=bar: progress.update(bar, completed=step),
        )
        seconds = time.process_time() - start
        score = reconstruction(model, graph if number == 0 else _some(graph))
        barred = number == 0 and not quick
        took = f"{steps:,} steps"
        rank, precision, minutes = (4.0, 0.87, 20.0) if barred else (None, None, None)
        published = ("published ≈ 4", "published 0.87") if barred else ("", "")
        table.rows += [
            Row(f"{label}: mean rank", score.mean_rank, rank, "lower", ours=took, peer=published[0]),
            Row(f"{label}: MAP", score.mean_average_precision, precision, peer=published[1]),
        ]
        if number == 0:
            table.rows.append(
                Row(f"{label}: minutes of training, one thread", seconds / 60, minutes, "lower", ours=took)
            )
    table.notes.append(
        f"WordNet 3.0: {len(graph):,} concepts, {len(graph.edges):,} links of the closure; reconstruction by Nickel "
        f"and Kiela's protocol, on all links for the first row, on those of {_JUDGED:,} concepts for the others."
    )
    return table


def _some(graph: HopGraph) -> HopGraph:
    """The links of some concepts only, among all concepts."""
    sources = graph.edges[:, 0].unique()
    drawn = sources[torch.randperm(len(sources), generator=torch.Generator().manual_seed(0))[:_JUDGED]]
    kept = graph.edges[torch.isin(graph.edges[:, 0], drawn)]
    return HopGraph.from_edges(kept, names=graph.names)
