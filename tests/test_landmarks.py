"""Landmarks, short hops, and samples of pairs stratified by hop count."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.bfs import bfs
from hyperspectral_geo.hyperbolic.landmarks import HopSamples, hop_samples, landmarks, short_hops

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


def random_graph(count: int = 400, links: int = 1200, *, directed: bool = True) -> HopGraph:
    generator = np.random.default_rng(0)
    targets = (generator.random(links) ** 3 * count).astype(np.int64)
    edges = torch.from_numpy(np.stack([generator.integers(count, size=links), targets], 1))
    return HopGraph.from_edges(edges, names=[str(i) for i in range(count)], directed=directed)


def check(graph: HopGraph, found: HopSamples) -> None:
    """Every hop count is right, no pair is repeated, no node is paired with itself."""
    table = bfs(graph, range(len(graph))).long()
    assert torch.equal(table[found.sources, found.targets], found.hops)
    assert bool((found.hops >= 1).all())
    assert len({*zip(found.sources.tolist(), found.targets.tolist(), strict=True)}) == len(found.hops)
    assert {part.dtype for part in found} == {torch.int64}


# Landmarks


@given(PAIRS, st.integers(0, 12), st.floats(0, 1), st.booleans())
def test_landmarks_are_distinct_nodes_with_links(pairs, count: int, hubs: float, directed: bool):
    graph = HopGraph.from_edges(pairs, names="abcdefghij", directed=directed)
    linked = set(graph.edges.flatten().tolist())
    found = landmarks(graph, count, seed=0, hubs=hubs).tolist()
    assert len(found) == len(set(found)) == min(count, len(linked))
    assert set(found) <= linked


def test_hubs_have_the_most_links():
    graph = random_graph()
    degree = torch.bincount(graph.edges.flatten(), minlength=len(graph))
    hubs = landmarks(graph, 20, seed=0, hubs=1.0)
    assert degree[hubs].tolist() == degree.sort(descending=True).values[:20].tolist()
    mixed = landmarks(graph, 40, seed=0)
    assert torch.equal(mixed[:20], hubs)
    assert degree[mixed[20:]].double().mean() < degree[hubs].min()


def test_the_random_landmarks_follow_the_seed():
    graph = random_graph()
    first, again, other = (landmarks(graph, 50, seed=seed, hubs=0.2).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first[:10] == other[:10]
    assert first[10:] != other[10:]


def test_random_landmarks_are_drawn_evenly():
    star = HopGraph.from_edges([(0, i) for i in range(1, 11)])
    drawn = Counter(int(landmarks(star, 1, seed=seed, hubs=0.0)) for seed in range(1100))
    assert set(drawn) == set(range(11))
    assert max(abs(times - 100) for times in drawn.values()) < 50  # five standard deviations


# Short hops


@given(PAIRS, st.booleans())
def test_all_short_hops_are_found_where_there_is_room(pairs, directed: bool):
    graph = HopGraph.from_edges(pairs, names="abcdefghij", directed=directed)
    found = short_hops(graph, 10_000, seed=0)
    check(graph, found)
    table = bfs(graph, range(10))
    for hops in (1, 2):
        assert int((found.hops == hops).sum()) == int((table == hops).sum())


@pytest.mark.parametrize("directed", [True, False])
def test_a_sample_of_short_hops(directed: bool):
    graph = random_graph(2000, 10_000, directed=directed)
    found = short_hops(graph, 1001, seed=0)
    check(graph, found)
    assert torch.bincount(found.hops).tolist() == [0, 501, 500]
    assert all(map(torch.equal, found, short_hops(graph, 1001, seed=0)))
    assert not torch.equal(found.sources, short_hops(graph, 1001, seed=1).sources)


# Samples


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("near", [0.0, 0.3, 1.0])
def test_samples_are_exact(directed: bool, near: float):
    graph = random_graph(directed=directed)
    found = hop_samples(graph, 3000, seed=0, near=near)
    check(graph, found)
    assert 2500 < len(found.hops) <= 3000


@given(PAIRS, st.booleans(), st.integers(0, 120), st.floats(0, 1))
def test_samples_of_small_graphs_are_exact(pairs, directed: bool, count: int, near: float):
    graph = HopGraph.from_edges(pairs, names="abcdefghij", directed=directed)
    found = hop_samples(graph, count, seed=0, near=near)
    check(graph, found)
    assert len(found.hops) <= count


@pytest.mark.parametrize("directed", [True, False])
def test_everything_is_found_where_there_is_room(directed: bool):
    graph = random_graph(100, 250, directed=directed)
    found = hop_samples(graph, 100_000, seed=0, marks=range(100))
    assert len(found.hops) == int((bfs(graph, range(100)) > 0).sum())


def test_hop_counts_are_equally_frequent_and_the_scarce_ones_complete():
    graph = random_graph(1000, 4000)
    marks = landmarks(graph, 50, seed=0)
    onward, toward = bfs(graph, marks), bfs(graph, marks, reverse=True)
    toward[:, marks] = -1
    there = torch.bincount(torch.cat([onward, toward]).clamp_min(0).flatten())[1:]
    found = torch.bincount(hop_samples(graph, 4000, seed=0, marks=marks, near=0.0).hops)[1:]
    assert len(found) == len(there)
    full = found < there
    assert found.sum() == 4000
    assert int(full.sum()) >= 3
    assert found[full].max() - found[full].min() <= 1
    assert bool((found[full].min() >= found[~full]).all())


def test_weights_of_hop_counts():
    found = hop_samples(random_graph(1000, 4000), 4000, seed=0, near=0.0, weights={3: 1.0, 5: 3.0, 4: 0.0, 99: 5.0})
    assert torch.bincount(found.hops).tolist() == [0, 0, 0, 1000, 0, 3000]


def test_pairs_of_one_hop_count_are_drawn_evenly():
    # From node 0 of a star to its 20 leaves, five at a time.
    star = HopGraph.from_edges([(0, i) for i in range(1, 21)])
    drawn = Counter(
        t for seed in range(400) for t in hop_samples(star, 5, seed=seed, marks=[0], near=0.0).targets.tolist()
    )
    assert set(drawn) == set(range(1, 21))
    assert max(abs(times - 100) for times in drawn.values()) < 45  # five standard deviations


def test_landmarks_are_at_both_ends():
    chain = HopGraph.from_edges([(i, i + 1) for i in range(200)])
    found = hop_samples(chain, 10_000, seed=0, marks=[100], near=0.0)
    assert int((found.sources == 100).sum()) == int((found.targets == 100).sum()) == 100
    assert len(found.hops) == 200  # beyond 127 hops there is no overflow either
    assert int(hop_samples(chain, 10_000, seed=0, marks=[0], near=0.0).hops.max()) == 200


def test_samples_follow_the_seed():
    graph = random_graph()
    assert all(map(torch.equal, hop_samples(graph, 500, seed=3), hop_samples(graph, 500, seed=3)))
    assert not torch.equal(hop_samples(graph, 500, seed=3).sources, hop_samples(graph, 500, seed=4).sources)


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "c")], ids=len)
def test_graphs_without_links_have_no_pairs(names: tuple[str, ...]):
    graph = HopGraph.from_edges([], names=names)
    assert len(landmarks(graph, 3, seed=0)) == 0
    for found in (hop_samples(graph, 10, seed=0), short_hops(graph, 10, seed=0)):
        assert [part.tolist() for part in found] == [[], [], []]
    if names:
        assert len(hop_samples(graph, 10, seed=0, marks=[0, 0]).hops) == 0


BAD = {
    "a negative number": (lambda g: landmarks(g, -1, seed=0), "count: expected a whole number"),
    "a fraction": (lambda g: landmarks(g, 1.5, seed=0), "count: expected a whole number"),
    "too many hubs": (lambda g: landmarks(g, 1, seed=0, hubs=1.1), "hubs: expected a share"),
    "nan hubs": (lambda g: landmarks(g, 1, seed=0, hubs=math.nan), "hubs: expected a share"),
    "negative short hops": (lambda g: short_hops(g, -1, seed=0), "count: expected a whole number"),
    "negative pairs": (lambda g: hop_samples(g, -1, seed=0), "count: expected a whole number"),
    "true pairs": (lambda g: hop_samples(g, True, seed=0), "count: expected a whole number"),
    "negative near": (lambda g: hop_samples(g, 5, seed=0, near=-0.1), "near: expected a share"),
    "no such landmark": (
        lambda g: hop_samples(g, 5, seed=0, marks=[9999]),
        "sources: expected nodes of a graph of 400",
    ),
    "negative weight": (lambda g: hop_samples(g, 5, seed=0, weights={1: -1.0}), "weights: expected finite"),
    "infinite weight": (lambda g: hop_samples(g, 5, seed=0, weights={1: math.inf}), "weights: expected finite"),
    "weight of none": (lambda g: hop_samples(g, 5, seed=0, weights={1: None}), "weights: expected finite"),
    "hop 0": (lambda g: hop_samples(g, 5, seed=0, weights={0: 1.0}), "weights: expected finite"),
    "half a hop": (lambda g: hop_samples(g, 5, seed=0, weights={0.5: 1.0}), "weights: expected finite"),
}


@pytest.mark.parametrize(("call", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(call, said: str, unchecked):
    with pytest.raises(ValueError, match=said):
        call(random_graph())
