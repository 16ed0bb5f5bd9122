"""Forests: depths, ancestors and descendants as networkx has them, and what is no forest."""

from __future__ import annotations

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.forest import Forest


def grown(size: int, seed: int, roots: int = 1) -> HopGraph:
    """A random forest, its nodes in random order, links from child to parent."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(size, generator=generator)
    edges = [(int(order[i]), int(order[int(torch.randint(i, (1,), generator=generator))])) for i in range(roots, size)]
    return HopGraph.from_edges(
        torch.tensor(edges, dtype=torch.int64).reshape(-1, 2), names=[f"n{i}" for i in range(size)]
    )


def as_networkx(graph: HopGraph) -> networkx.DiGraph:
    found = networkx.DiGraph(graph.edges.tolist())
    found.add_nodes_from(range(len(graph)))
    return found


@given(size=st.integers(1, 60), seed=st.integers(0, 1000), roots=st.integers(1, 4))
def test_who_is_above_whom_is_what_networkx_says(size: int, seed: int, roots: int):
    graph = grown(size, seed, min(roots, size))
    forest, reference = Forest.of(graph), as_networkx(graph)
    above = [networkx.descendants(reference, node) for node in range(size)]  # links lead upwards
    assert forest.depth.tolist() == [len(found) for found in above]
    assert forest.descendants().tolist() == [len(networkx.ancestors(reference, node)) for node in range(size)]
    sources = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[: size // 2 + 1]
    row, ancestor = forest.ancestors(sources)
    found = list(zip(row.tolist(), ancestor.tolist(), strict=True))
    assert len(set(found)) == len(found)
    assert set(found) == {(i, up) for i, node in enumerate(sources.tolist()) for up in above[node]}
    assert torch.cat(forest.levels).sort().values.tolist() == list(range(size))
    assert all(len(forest.depth[level].unique()) == 1 for level in forest.levels)


def test_a_long_chain_needs_no_recursion():
    chain = HopGraph.from_edges([(i + 1, i) for i in range(50_000)])
    forest = Forest.of(chain)
    assert torch.equal(forest.depth, torch.arange(50_001))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (HopGraph.from_edges([(1, 0), (2, 0), (2, 1)]), "one parent a node, got several for '2'"),
        (HopGraph.from_edges([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]), "a cycle above 'a'"),
        (HopGraph.from_edges([(0, 1), (1, 0)]), "a cycle above '0'"),
        (HopGraph.from_edges([(1, 0)], directed=False), "got an undirected graph"),
    ],
)
def test_what_is_no_forest_is_refused(graph: HopGraph, message: str):
    with pytest.raises(ValueError, match=message):
        Forest.of(graph)
