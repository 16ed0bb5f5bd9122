"""``hsgeo bench hop-taxonomy``: NCBI's 2.6 million taxa in ten dimensions, hyperbolic beside Euclidean."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data import load_taxonomy
from hyperspectral_geo.hyperbolic import Geometry, HopEmbedding, HopGraph, LinkSoftmax, embed_tree, fit
from hyperspectral_geo.hyperbolic.ancestor_ranks import ancestor_precision
from hyperspectral_geo.hyperbolic.forest import Forest
from hyperspectral_geo.hyperbolic.tree_embedding import tree_learning_rate

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

DIM = 10
STEPS, RANDOM_STEPS, MAMMAL_STEPS = 2000, 4000, 2000
_ALL = LinkSoftmax(sources=1024, negatives=512, run=32, ancestors=True)
_SOME = LinkSoftmax(sources=512, negatives=256, run=16, ancestors=True)
_GEOMETRIES: dict[Geometry, str] = {"hyperbolic": "hyperbolic", "euclidean": "Euclidean"}
_JUDGED = 1000
_MAMMALIA = "40674"

Told = Callable[[str], None]


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """All taxa with time and memory; then the mammals among them, which can be trained from random points too."""
    table = BenchTable("hop-taxonomy", environment=environment())
    bar = progress.add_task("hop-taxonomy", total=4 if quick else 8)

    def told(what: str) -> None:
        progress.update(bar, advance=1, description=f"hop-taxonomy: {what}")

    with one_thread():
        if not quick:
            table.rows += _taxa(told)
        table.rows += _mammals(told, 50 if quick else MAMMAL_STEPS)
    table.notes += [
        f"d = {DIM}, one thread. MAP of ancestors: each of {_JUDGED:,} taxa, drawn at random, ranks all others by "
        "distance, and its ancestors should come first; that is Nickel and Kiela's reconstruction on the transitive "
        "closure. The interval is 1.96 standard errors over these taxa; beside it the MAP of those that are leaves, "
        "and of inner taxa.",
        "Laid out: embed_tree, without training. Trained: LinkSoftmax with all ancestors as links, from the layout at "
        "tree_learning_rate, from random points at the rate that is LinkSoftmax's own in either geometry. An epoch is "
        "as many sources as there are taxa. From random points all taxa are trained for an epoch or two: far from "
        "converged, this says what some minutes buy, not what either geometry can hold. The mammals are trained for "
        "dozens.",
    ]
    return table


def _taxa(told: Told) -> Iterator[Row]:
    told("loading")
    wall, start = time.perf_counter(), time.process_time()
    graph = _taxonomy()
    laid_out = embed_tree(graph, dim=DIM)
    seconds = time.process_time() - start
    told("all taxa, from the layout")
    course = _Course(graph, _ALL)
    model, trained = course.run("hyperbolic", STEPS, laid_out)
    minutes, gigabytes = (time.perf_counter() - wall) / 60, _peak_memory()
    judge = _Judge(graph, "all taxa")
    yield judge.row("hyperbolic, laid out, then trained", model, trained)
    yield Row("minutes from the file to this model", minutes, 60.0, "lower")
    yield Row("GB of memory at the most until then", gigabytes, 8.0, "lower")
    yield judge.row("hyperbolic, laid out", laid_out, f"{seconds:.0f} CPU s, with loading")
    for geometry in _GEOMETRIES:
        told(f"all taxa, {geometry}")
        yield judge.row(f"{_GEOMETRIES[geometry]}, trained from random points", *course.run(geometry, RANDOM_STEPS))


def _mammals(told: Told, steps: int) -> Iterator[Row]:
    told("mammals, laid out")
    graph = _mammalia()
    judge, course = _Judge(graph, "mammals"), _Course(graph, _SOME)
    start = time.process_time()
    laid_out = embed_tree(graph, dim=DIM)
    yield judge.row("hyperbolic, laid out", laid_out, f"{time.process_time() - start:.2f} CPU s")
    told("mammals, from the layout")
    trained = course.run("hyperbolic", max(1, steps // 4), laid_out)
    yield judge.row("hyperbolic, laid out, then trained", *trained)
    for geometry in _GEOMETRIES:
        told(f"mammals, {geometry}")
        yield judge.row(f"{_GEOMETRIES[geometry]}, trained from random points", *course.run(geometry, steps))


class _Course(NamedTuple):
    """What a graph is trained with."""

    graph: HopGraph
    objective: LinkSoftmax

    def run(self, geometry: Geometry, steps: int, start: HopEmbedding | None = None) -> tuple[HopEmbedding, str]:
        """A model, and what it took."""
        began, rate = time.process_time(), None if start is None else tree_learning_rate(self.graph)
        options = {"dim": DIM, "geometry": geometry, "start": start, "steps": steps, "learning_rate": rate}
        model = fit(self.graph, objective=self.objective, **options)
        epochs = steps * self.objective.sources / len(self.graph)
        return model, f"{time.process_time() - began:.0f} CPU s, {steps:,} steps, {epochs:.2g} epochs"


class _Judge:
    """Taxa drawn once, and the MAP of their ancestors in a model."""

    def __init__(self, graph: HopGraph, name: str) -> None:
        self.forest = Forest.of(graph)
        self.name = f"{name} ({len(graph):,})"
        below = torch.nonzero(self.forest.depth)[:, 0]
        self.sources = below[torch.randperm(len(below), generator=torch.Generator().manual_seed(0))[:_JUDGED]]
        self.leaf = (self.forest.descendants() == 0)[self.sources]

    def row(self, label: str, model: HopEmbedding, ours: str) -> Row:
        precision = ancestor_precision(model, self.forest, self.sources)
        mean, error = precision.mean().item(), 1.96 * precision.std().item() / len(precision) ** 0.5
        leaves, inner = (precision[which].mean().item() for which in (self.leaf, ~self.leaf))
        ours = f"leaves {leaves:.4f}, inner {inner:.4f}; {ours}"
        return Row(f"{self.name}, {label}: MAP of ancestors", mean, interval=(mean - error, mean + error), ours=ours)


def _taxonomy() -> HopGraph:
    taxonomy = load_taxonomy()
    return HopGraph.from_edges(taxonomy.edges, names=taxonomy.names)


def _mammalia() -> HopGraph:
    """Mammalia and the taxa below."""
    taxonomy = load_taxonomy()
    kept = torch.zeros(len(taxonomy.names), dtype=torch.bool)
    kept[taxonomy.names.index(_MAMMALIA)] = True
    for _ in range(taxonomy.depth):
        kept[taxonomy.edges[:, 0][kept[taxonomy.edges[:, 1]]]] = True
    number = kept.cumsum(0) - 1
    edges = number[taxonomy.edges[kept[taxonomy.edges].all(1)]]
    return HopGraph.from_edges(edges, names=[name for name, k in zip(taxonomy.names, kept.tolist(), strict=True) if k])


def _peak_memory() -> float:
    """Resident memory of this process at its largest, GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)
