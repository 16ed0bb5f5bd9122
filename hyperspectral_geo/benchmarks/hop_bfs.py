"""Rows of ``hsgeo bench hop-speed``: bit-parallel BFS on generated scale-free graphs, beside SciPy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from hyperspectral_geo.benchmarks.table import Row
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.hyperbolic.bfs import bfs
from hyperspectral_geo.hyperbolic.graph import HopGraph

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["rows", "scale_free"]

NODES = (1_000_000, 5_000_000)
SOURCES = 128
LINKS = 10  # a node
SECONDS, SCIPY_RATIO, FLATNESS = 0.05, 10.0, 1.5


def rows(*, quick: bool, progress: Progress | None = None) -> list[Row]:
    """CPU seconds a source, SciPy's over ours, what a link costs in a graph five times as large, and wrong hop counts.

    Times are CPU time on one thread for 128 sources, sorting the links included: the least of all turns, the interval
    over them. ``quick`` takes graphs of a tenth of the size, for which no bars of time are set. The large graph needs
    3 GB.
    """
    small, large = (n // 10 for n in NODES) if quick else NODES
    turns = 1 if quick else 3
    task = progress.add_task("BFS", total=2) if progress else None
    with one_thread():
        graph = scale_free(small, LINKS * small, seed=0)
        sources = _sources(small)
        seconds = _turns(lambda: bfs(graph, sources), turns)
        back = _turns(lambda: bfs(graph, sources, reverse=True), turns)
        peers, wrong = _scipy(graph, sources[: 2 if quick else 4])
        if progress and task is not None:
            progress.advance(task)
        per_link = min(seconds) / len(graph.edges)
        del graph
        graph, sources = scale_free(large, LINKS * large, seed=0), _sources(large)
        larger = _turns(lambda: bfs(graph, sources), turns)
        if progress and task is not None:
            progress.advance(task)
    size = f"{small:,} nodes, {LINKS * small:,} links"
    faster = min(peers, key=lambda name: peers[name])
    return [
        _seconds_row(f"BFS: a source, {size}", seconds, quick),
        _seconds_row(f"BFS: a source against the links, {size}", back, quick),
        Row(
            "BFS: SciPy's seconds a source over ours",
            peers[faster] * SOURCES / min(seconds),
            None if quick else SCIPY_RATIO,
            "higher",
            (peers[faster] * SOURCES / max(seconds), peers[faster] * SOURCES / min(seconds)),
            f"{1e3 * min(seconds) / SOURCES:.3g} ms",
            "scipy " + ", ".join(f"{name} {1e3 * t:.3g} ms" for name, t in peers.items()),
            "×",
        ),
        Row(
            f"BFS: cost of a link at {large:,} nodes over {small:,}",
            min(larger) / len(graph.edges) / per_link,
            None if quick else FLATNESS,
            "lower",
            (min(larger) / len(graph.edges) / per_link, max(larger) / len(graph.edges) / per_link),
            f"{1e9 * min(larger) / len(graph.edges) / SOURCES:.3g} ns",
            f"{1e9 * per_link / SOURCES:.3g} ns",
            "×",
        ),
        Row("BFS: hop counts that differ from SciPy's", float(wrong), 0.0, "lower"),
    ]


def scale_free(nodes: int, links: int, *, seed: int) -> HopGraph:
    """Directed graph with sources drawn evenly and targets by a power law, of which repeated links are dropped.

    The target is a random permutation of ⌊n·u³⌋ with u uniform, so that the node of rank r gets links in proportion to
    r^(−2/3), as in preferential attachment with the in-degree exponent 5/2. The nodes have no names.
    """
    generator = np.random.default_rng(seed)
    keys = generator.integers(nodes, size=links) * nodes
    keys += generator.permutation(nodes)[(generator.random(links) ** 3 * nodes).astype(np.int64)]
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) > 0]
    ends = torch.from_numpy(np.stack(np.divmod(keys, nodes), 1))
    # Not from_edges, which would make millions of names.
    return HopGraph(("",) * nodes, ends[ends[:, 0] != ends[:, 1]], directed=True)


def _sources(nodes: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(nodes, size=SOURCES))


def _turns(call: Callable[[], object], turns: int) -> list[float]:
    """CPU seconds of each call."""
    found = []
    for _ in range(turns):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return found


def _seconds_row(figure: str, seconds: list[float], quick: bool) -> Row:
    interval = (min(seconds) / SOURCES, max(seconds) / SOURCES)
    return Row(figure, min(seconds) / SOURCES, None if quick else SECONDS, "lower", interval, unit=" s")


def _scipy(graph: HopGraph, sources: torch.Tensor) -> tuple[dict[str, float], int]:
    """CPU seconds a source of SciPy's two searches, and how many of our hop counts differ from its own.

    ``breadth_first_order`` gives an order and predecessors, from which hop counts would still have to be worked out.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, dijkstra

    first, ends = (x.numpy().astype(np.int32) for x in graph.compressed())
    links = csr_array((np.ones(len(ends), dtype=np.float64), ends, first), shape=(len(graph), len(graph)))
    found, dijkstra_seconds, order_seconds = [], [], []
    for source in sources.tolist():
        dijkstra_seconds += _turns(lambda s=source: found.append(dijkstra(links, unweighted=True, indices=s)), 1)
        order_seconds += _turns(lambda s=source: breadth_first_order(links, s), 1)
    expected = np.stack([np.where(np.isfinite(row), row, -1) for row in found])
    wrong = int((bfs(graph, sources).numpy() != expected).sum())
    return {"dijkstra": min(dijkstra_seconds), "breadth_first_order": min(order_seconds)}, wrong
