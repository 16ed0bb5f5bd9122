"""``hsgeo bench hops``: hop distances of Wikispeedia by many models, judged on pairs that none has seen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from hyperspectral_geo.benchmarks.hop_contest import DIRECTED, ONE_POINT, UNDIRECTED, Contestant, HopTask
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data import Wikispeedia, load_wikispeedia
from hyperspectral_geo.hyperbolic import HopGraph, HopScores, gromov_delta, held_out_pairs, hop_counts, hop_scores

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["FIGURES", "SETTINGS", "run"]

SETTINGS: dict[str, tuple[bool, tuple[Contestant, ...]]] = {
    "directed, 22": (True, DIRECTED),
    "directed, 12": (True, ONE_POINT),
    "undirected": (False, UNDIRECTED),
}
"""Whether links have a direction, and who competes."""

FIGURES = ("r2", "average_distortion", "neighbour_map")
"""Fields of ``HopScores`` that get a row, and may have a bar."""

_HELD = 0.1
_QUICK_PAGES = 550  # drawn; the largest part that hangs together has about 300


@dataclass(frozen=True)
class Judged:
    """A model's name, its scores, and the CPU seconds of fitting it."""

    name: str
    scores: HopScores
    seconds: float


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """All contestants on one thread; means over seeds, each of which holds out other pairs."""
    table = BenchTable("hops", environment=environment("gensim", "geoopt"))
    core = load_wikispeedia(core=True)
    core = _sub_core(core) if quick else core
    total = sum(_seeds(one, quick) for _, contestants in SETTINGS.values() for one in contestants)
    bar = progress.add_task("hops", total=total)
    with one_thread():
        for setting, (directed, contestants) in SETTINGS.items():
            graph = HopGraph.from_edges(core.edges, names=core.names, directed=directed)
            hops = hop_counts(graph)
            for one in contestants:
                progress.update(bar, description=f"hops: {setting}: {one.name}")
                try:
                    judged = [_judged(one, graph, hops, seed, quick) for seed in range(_seeds(one, quick))]
                except ImportError as error:
                    table.notes.append(f"{one.name}: not measured: {error}.")
                    judged = []
                for models in zip(*judged, strict=True):
                    table.rows += _rows(f"{setting}: {models[0].name}", one, models, barred=not quick)
                progress.advance(bar, _seeds(one, quick))
            if not directed:
                table.notes.append(_tree_likeness(hops))
    source, target = core.edges.unbind(1)
    table.notes += _notes(len(core.names), int((source != target).sum()))
    return table


def _sub_core(core: Wikispeedia) -> Wikispeedia:
    """The largest strong component of the links among some pages."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    drawn = torch.randperm(len(core.names), generator=torch.Generator().manual_seed(0))[:_QUICK_PAGES]
    edges = core.edges[torch.isin(core.edges, drawn).all(1)]
    links = coo_array((np.ones(len(edges)), edges.T.numpy()), shape=(len(core.names),) * 2)
    label = torch.from_numpy(connected_components(links, connection="strong")[1]).long()
    pages = (label == label.bincount().argmax()).nonzero()[:, 0]
    edges = edges[torch.isin(edges, pages).all(1)]
    return Wikispeedia(tuple(core.names[page] for page in pages.tolist()), torch.searchsorted(pages, edges))


def _seeds(contestant: Contestant, quick: bool) -> int:
    return 1 if quick else contestant.seeds


def _judged(one: Contestant, graph: HopGraph, hops: torch.Tensor, seed: int, quick: bool) -> list[Judged]:
    """Fit one contestant and judge it, with each of its read-outs, on the pairs held out under a seed."""
    held = held_out_pairs(len(graph), _HELD, seed=seed, directed=graph.directed).mask()
    start = time.process_time()
    model = one.fitted(HopTask(graph, hops, held, seed, quick))
    seconds = time.process_time() - start
    if one.readouts is None:
        return [Judged(one.name, hop_scores(model, hops, held=held), seconds)]
    return [
        Judged(f"{one.name}, {name} read-out", hop_scores(readout(model, hops, held), hops, held=held), seconds)
        for name, readout in one.readouts.items()
    ]


def _rows(figure: str, one: Contestant, models: Sequence[Judged], *, barred: bool) -> Iterator[Row]:
    """Three figures, each with mean and range of the seeds; what else is known stands beside them."""
    bars = one.bars if barred and one.bars is not None else {}
    scores = [model.scores for model in models]
    numbers = "" if one.numbers is None else f"{one.numbers} numbers a page"
    seconds = f"{fmean(model.seconds for model in models):.1f} CPU s"
    spearman = f"Spearman {fmean(score.spearman for score in scores):.3f}"
    held = f"held-out pairs {fmean(score.held_neighbour_map for score in scores):.3f}"
    labels = ("R²", "average distortion", "neighbour MAP")
    for label, field, beside in zip(labels, FIGURES, ((numbers, seconds), (spearman, ""), (held, "")), strict=True):
        values = [getattr(score, field) for score in scores]
        spread = (min(values), max(values)) if len(values) > 1 else None
        better = "lower" if field == "average_distortion" else "higher"
        yield Row(f"{figure}: {label}", fmean(values), bars.get(field), better, spread, *beside)


def _tree_likeness(hops: torch.Tensor) -> str:
    found = gromov_delta(hops, seed=0)
    return (
        f"Gromov's δ of the undirected graph: mean {found.mean:.4f}, 95 % interval {found.low:.4f} to "
        f"{found.high:.4f}, over {found.quadruples:,} quadruples; the largest found {found.largest:g}; "
        f"2δ over the mean distance {found.relative:.3f}, where a tree has 0."
    )


def _notes(pages: int, links: int) -> list[str]:
    return [
        f"Wikispeedia's largest strong component, {pages:,} pages and {links:,} links. R², average distortion and "
        "Spearman on a tenth of all ordered pairs, which only the oracles have seen; neighbour MAP over all pairs, "
        "and over the held-out ones alone. Means and range of five seeds, each with its own pairs; one seed where no "
        "interval is given. Bars of one model are judged together, on the same five runs.",
        "The oracles look at the true distances of both directions, held out or not, and show what no symmetric model "
        "can beat.",
        "Numbers a page are those of its own row. The forms are shared by all pages and not counted there: eight of "
        f"67 × 67 in the directed settings, as many as {8 * 67 * 67 / pages:.1f} more a page; rank 15 is beside them "
        "for that.",
        "gensim and geoopt are trained on the links that are not held out and know only which pages are near. Their "
        "distances are brought to hops by a line, and by the best curve that does not fall; both are fitted to the "
        "table of hops, without the held-out pairs.",
    ]
