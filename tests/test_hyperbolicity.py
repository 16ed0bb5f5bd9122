"""Gromov's δ: graphs of known hyperbolicity, brute force, the interval, and what is refused."""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hyperspectral_geo.data import load_wikispeedia
from hyperspectral_geo.hyperbolic import HopGraph, hyperbolicity
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.hyperbolicity import gromov_delta


def from_networkx(made: networkx.Graph) -> HopGraph:
    numbered = networkx.convert_node_labels_to_integers(made)
    edges = torch.tensor(list(numbered.edges), dtype=torch.int64).reshape(-1, 2)
    return HopGraph.from_edges(edges, names=[str(i) for i in numbered], directed=made.is_directed())


def by_definition(made: networkx.Graph) -> tuple[float, float, float]:
    """Mean and largest δ over all quadruples, by Gromov products, and the mean distance; of a connected graph."""
    apart = dict(networkx.all_pairs_shortest_path_length(made))

    def product(x, y, base) -> float:
        return (apart[x][base] + apart[y][base] - apart[x][y]) / 2

    deltas = []
    for x, y, z, base in itertools.combinations(made, 4):
        a, b, c = product(x, y, base), product(y, z, base), product(x, z, base)
        deltas.append(max(min(a, b) - c, min(b, c) - a, min(a, c) - b))
    return float(np.mean(deltas)), float(max(deltas)), networkx.average_shortest_path_length(made)


def ring(n: int) -> networkx.Graph:
    return networkx.cycle_graph(n)


KNOWN = [
    *((f"tree of {n}", networkx.random_labeled_tree(n, seed=n), 0.0) for n in (4, 17, 40)),
    ("star", networkx.star_graph(20), 0.0),
    ("complete", networkx.complete_graph(9), 0.0),
    ("block graph", networkx.windmill_graph(4, 5), 0.0),
    # A cycle of 4·p + r nodes: p, but p − 1/2 for r = 1.
    *((f"cycle of {n}", ring(n), n // 4 - (0.5 if n % 4 == 1 else 0.0)) for n in (4, 5, 6, 7, 8, 9, 30, 33, 35)),
    *((f"grid {n} × {n}", networkx.grid_2d_graph(n, n), n - 1.0) for n in (2, 3, 5, 7)),
    ("grid 3 × 8", networkx.grid_2d_graph(3, 8), 2.0),
    ("cube", networkx.hypercube_graph(3), 1.0),
    ("Petersen", networkx.petersen_graph(), 0.5),
]


@pytest.mark.parametrize(("made", "largest"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN])
def test_graphs_of_known_hyperbolicity(made: networkx.Graph, largest: float):
    found = gromov_delta(from_networkx(made), seed=0)
    assert (found.largest, found.exact) == (largest, True)
    assert found.quadruples == math.comb(len(made), 4)
    assert (found.mean == 0) == (largest == 0)
    assert found.low == found.mean == found.high


@pytest.mark.parametrize("seed", range(4))
def test_all_quadruples_against_the_definition(seed: int):
    made = networkx.connected_watts_strogatz_graph(14, 4, 0.3, seed=seed)
    found = gromov_delta(from_networkx(made), seed=0)
    mean, largest, distance = by_definition(made)
    assert (found.mean, found.largest, found.mean_distance) == pytest.approx((mean, largest, distance))
    assert found.relative == pytest.approx(2 * mean / distance)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_up_to_three_nodes_are_a_tree(n: int):
    found = gromov_delta(from_networkx(networkx.complete_graph(n)), seed=0)
    assert (found.mean, found.largest, found.relative, found.quadruples, found.high) == (0, 0, 0, 0, 0)
    assert math.isnan(found.mean_distance) == (n < 2)


# Samples


@pytest.mark.parametrize(
    "made",
    [ring(61), networkx.connected_watts_strogatz_graph(64, 4, 0.1, seed=0), networkx.random_labeled_tree(62, seed=0)],
    ids=["cycle", "small world", "tree"],
)
def test_the_interval_holds_the_mean(made: networkx.Graph):
    hops = hop_counts(from_networkx(made)).numpy().astype(float)
    deltas = []
    for w, x in itertools.combinations(range(len(made)), 2):
        y, z = np.array(list(itertools.combinations(range(x + 1, len(made)), 2)), dtype=int).reshape(-1, 2).T
        ways = (hops[w, x] + hops[y, z], hops[w, y] + hops[x, z], hops[w, z] + hops[x, y])
        deltas.append((np.sort(ways, 0)[2] - np.sort(ways, 0)[1]) / 2)
    mean, largest = np.concatenate(deltas).mean(), np.concatenate(deltas).max()
    for seed in range(20):
        found = gromov_delta(from_networkx(made), seed=seed, samples=2000)
        assert not found.exact
        assert found.quadruples == 2000
        assert found.low <= mean <= found.high
        assert found.largest <= largest
        assert (found.largest == 0) == (largest == 0)
    assert 0 < found.high - found.low < 0.2 * max(largest, 1)


def test_the_interval_narrows_with_samples_and_widens_with_confidence():
    graph = from_networkx(ring(100))

    def width(**options) -> float:
        found = gromov_delta(graph, seed=0, **options)
        return found.high - found.low

    assert width(samples=100_000) == pytest.approx(width(samples=1000) / 10, rel=0.35)
    assert width(confidence=0.5) < width(confidence=0.95) < width(confidence=0.9999)


def test_quadruples_are_uniform_and_reproducible():
    drawn = torch.cat(list(hyperbolicity._drawn(6, 30_000, 0)))
    assert len(drawn) == 30_000
    kinds = collections.Counter(map(tuple, drawn.sort(1).values.tolist()))
    assert set(kinds) == set(itertools.combinations(range(6), 4))
    assert stats.chisquare(list(kinds.values())).pvalue > 0.001
    graph = from_networkx(ring(64))
    assert gromov_delta(graph, seed=0, samples=5000) == gromov_delta(graph, seed=0, samples=5000)
    assert gromov_delta(graph, seed=0, samples=5000) != gromov_delta(graph, seed=1, samples=5000)


@given(st.integers(0, 300), st.floats(0.01, 100))
def test_scaling_and_numbering(seed: int, factor: float):
    made = networkx.connected_watts_strogatz_graph(10, 4, 0.5, seed=seed)
    hops = hop_counts(from_networkx(made)).double()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    plain, turned = gromov_delta(hops, seed=0), gromov_delta(factor * hops[order][:, order], seed=0)
    assert turned.mean == pytest.approx(factor * plain.mean)
    assert turned.largest == pytest.approx(factor * plain.largest)
    assert turned.relative == pytest.approx(plain.relative)


def test_wikispeedia_is_not_much_like_a_tree(shared_data: Callable[[str], Path]):
    core = load_wikispeedia(shared_data("wikispeedia"), core=True)
    found = gromov_delta(HopGraph.from_edges(core.edges, names=core.names, directed=False), seed=0)
    assert found.mean_distance == pytest.approx(2.4833, abs=1e-4)
    assert 2 * found.low / found.mean_distance < 0.158 < 2 * found.high / found.mean_distance
    assert found.high - found.low < 0.006


# Directed and disconnected


@pytest.mark.parametrize("how", ["min", "mean", "max"])
def test_directed_tables_are_made_symmetric_only_when_asked(how: str):
    made = networkx.random_k_out_graph(12, 3, 1.0, seed=3, self_loops=False)
    graph = HopGraph.from_edges([(u, v) for u, v, _ in made.edges], names=[str(i) for i in range(12)])
    hops = hop_counts(graph).double()
    hops[hops < 0] = math.inf
    with pytest.raises(ValueError, match="distances: expected a symmetric table, got .* pass symmetrise="):
        gromov_delta(graph, seed=0)
    both = torch.stack([hops, hops.T])
    whole = {"min": both.amin(0), "mean": both.mean(0), "max": both.amax(0)}[how]
    if bool(torch.isfinite(whole).all()):
        assert gromov_delta(graph, seed=0, symmetrise=how) == gromov_delta(whole, seed=0)
    found = gromov_delta(graph, seed=0, symmetrise=how)
    assert found.quadruples + found.unreachable == math.comb(12, 4)


@pytest.mark.parametrize("size", [5, 40])
def test_parts_without_a_walk_are_left_out_and_counted(size: int):
    graph = from_networkx(networkx.disjoint_union(ring(size), networkx.path_graph(size)))
    found = gromov_delta(graph, seed=0, samples=4000)
    assert found.quadruples + found.unreachable == (4000 if size > 30 else math.comb(10, 4))
    assert found.quadruples == (
        10 if size == 5 else pytest.approx(4000 * 2 * math.comb(40, 4) / math.comb(80, 4), rel=0.2)
    )
    assert found.largest == (0.5 if size == 5 else pytest.approx(10, abs=2))
    assert math.isfinite(found.mean_distance)


@pytest.mark.parametrize(
    ("distances", "options", "message"),
    [
        (HopGraph.from_edges([(0, 20_000)]), {}, "expected a graph of at most 20000 nodes, got 20001"),
        (torch.ones(4, 5), {}, r"expected shape \(n, n\)"),
        (torch.ones(4), {}, "expected real distances"),
        (torch.ones(4, 4), {}, "expected distances .* got 1 from node 0 to node 0"),
        (torch.full((4, 4), math.nan), {}, "expected distances .* got nan"),
        (-3 * (1 - torch.eye(4)), {}, "expected distances .* got -3"),
        (torch.tensor([[0, 1], [2, 0]]), {}, "expected a symmetric table, got 1 from node 0 to node 1 and 2 back"),
        (torch.tensor([[0, 1], [-1, 0]]), {}, "expected a symmetric table, got 1 .* and inf back"),
        (torch.eye(5).long() - 1, {}, "expected quadruples joined by walks, got none among 5"),
        (1 - torch.eye(4), {"samples": 1}, "samples: expected a whole number from 2"),
        (1 - torch.eye(4), {"samples": 2.0}, "samples: expected a whole number from 2"),
        (1 - torch.eye(4), {"confidence": 1}, "confidence: expected a number between 0 and 1"),
        (1 - torch.eye(4), {"confidence": math.nan}, "confidence: expected"),
        (1 - torch.eye(4), {"symmetrise": "sum"}, "symmetrise: expected None"),
    ],
)
def test_what_is_refused(distances: torch.Tensor, options: dict, message: str, unchecked):
    with pytest.raises(ValueError, match=message):
        gromov_delta(distances, seed=0, **options)
