"""Trees laid out: ancestors first, caps in caps, the same points for the same seed, and what cannot be laid out."""

from __future__ import annotations

import math

import pytest
import torch
from test_forest import grown

from hyperspectral_geo.data import load_wordnet, transitive_closure
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, LinkSoftmax, embed_tree, fit, reconstruction
from hyperspectral_geo.hyperbolic.ancestor_ranks import ancestor_precision
from hyperspectral_geo.hyperbolic.forest import Forest
from hyperspectral_geo.hyperbolic.tree_embedding import tree_learning_rate


def closure(graph: HopGraph) -> HopGraph:
    return HopGraph.from_edges(transitive_closure(graph.edges, len(graph)), names=graph.names)


def from_leaves(graph: HopGraph) -> HopGraph:
    """The closure's links of nodes that nothing lies below."""
    whole = closure(graph)
    leaf = Forest.of(graph).descendants() == 0
    return HopGraph.from_edges(whole.edges[leaf[whole.edges[:, 0]]], names=graph.names)


def inner_precision(model: HopEmbedding, graph: HopGraph) -> float:
    """MAP of ancestors from some nodes that are neither leaves nor roots."""
    forest = Forest.of(graph)
    inner = (forest.descendants() > 0) & (forest.depth > 0)
    return ancestor_precision(model, forest, inner.nonzero()[:200, 0]).mean().item()


def chain(count: int) -> HopGraph:
    return HopGraph.from_edges([(i, i - 1) for i in range(1, count)])


def balanced(branches: int, depth: int) -> HopGraph:
    count = sum(branches**level for level in range(depth + 1))
    return HopGraph.from_edges([(i, (i - 1) // branches) for i in range(1, count)])


TREES = {
    "binary, 9 deep": balanced(2, 9),
    "of sixes, 4 deep": balanced(6, 4),
    "a star": HopGraph.from_edges([(i, 0) for i in range(1, 2000)]),
    "a chain with twigs": HopGraph.from_edges([(i, i - 1 if i % 2 else max(i - 3, 0)) for i in range(1, 120)]),
    "random": grown(3000, seed=3),
    "three at once": grown(3000, seed=4, roots=3),
}


@pytest.mark.parametrize("name", TREES)
def test_the_ancestors_of_leaves_come_first(name: str):
    score = reconstruction(embed_tree(TREES[name]), from_leaves(TREES[name]))
    assert score.mean_average_precision > 0.99
    assert score.mean_rank < 1.2


@pytest.mark.parametrize(("name", "least"), [("random", 0.75), ("three at once", 0.75), ("of sixes, 4 deep", 0.9)])
def test_leaves_seldom_come_before_the_ancestors_of_inner_nodes(name: str, least: float):
    graph = TREES[name]
    model = embed_tree(graph)
    assert inner_precision(model, graph) > least
    assert float(torch.linalg.vector_norm(model.tangents, dim=1).max()) <= 30.0 + 1e-9


@pytest.mark.parametrize("graph", [chain(3), chain(300), *TREES.values()], ids=["chain of 3", "chain of 300", *TREES])
def test_no_two_nodes_coincide(graph: HopGraph):
    model = embed_tree(graph, dim=5)
    distances = model.distances(torch.arange(min(len(graph), 300))).fill_diagonal_(1.0)
    assert float(distances.min()) > 1e-3


def test_a_chain_of_any_length_is_laid_out():
    radius = torch.linalg.vector_norm(embed_tree(chain(5000), dim=3).tangents, dim=1)
    assert float(radius.diff().min()) > 1e-5
    assert float(radius[-2]) < 4


@pytest.mark.parametrize(
    ("count", "rate"), [(1, 0.03), (100, 0.03), (900, 0.012), (14_400, 0.003), (2_560_000, 0.000225)]
)
def test_the_learning_rate_falls_with_the_root_of_the_size(count: int, rate: float):
    nothing = torch.empty(0, 2, dtype=torch.int64)
    graph = HopGraph.from_edges(nothing, names=list(map(str, range(count))))
    assert tree_learning_rate(graph) == pytest.approx(rate)


def test_training_at_this_rate_brings_the_ancestors_of_inner_nodes_first():
    graph = grown(300, seed=0)
    objective = LinkSoftmax(sources=256, negatives=64, run=16, ancestors=True)
    start = embed_tree(graph)
    model = fit(graph, objective=objective, start=start, steps=200, learning_rate=tree_learning_rate(graph))
    assert inner_precision(model, graph) > 0.98 > inner_precision(start, graph)
    assert reconstruction(model, from_leaves(graph)).mean_average_precision > 0.98


@pytest.mark.parametrize("dim", [4, 10, 30])
def test_more_dimensions_need_less_radius(dim: int):
    graph = TREES["random"]
    found = embed_tree(graph, dim=dim)
    assert found.tangents.shape == (len(graph), dim)
    assert found.tangents.dtype == torch.float64
    assert reconstruction(found, from_leaves(graph)).mean_average_precision > 0.98
    inner = Forest.of(graph).descendants() > 0  # leaves go as far out as they may
    radius = torch.linalg.vector_norm(found.tangents[inner], dim=1).max()
    assert radius < torch.linalg.vector_norm(embed_tree(graph, dim=3).tangents[inner], dim=1).max()


def test_a_node_lies_in_the_caps_of_its_ancestors():
    """What lies nearer than the origin from far out in direction θ: cosh r − sinh r·cos(angle) < 1."""
    forest, tangents = Forest.of(TREES["random"]), embed_tree(TREES["random"]).tangents
    node, above = forest.ancestors(torch.arange(len(forest)))
    radius = torch.linalg.vector_norm(tangents, dim=1)
    direction = tangents / radius[:, None]
    chord = torch.linalg.vector_norm(direction[node] - direction[above], dim=1)
    angle, width = 2 * torch.asin(chord / 2), 2 * torch.atan(torch.exp(-radius[above] / 2))
    assert float((angle < width).double().mean()) > 0.99  # a second child may stick out
    assert bool((radius[node] > radius[above] - 1e-9).all())
    assert float(width.max()) == pytest.approx(1.0, rel=2e-3)


def test_mammals_are_laid_out_about_as_well_as_was_published_for_training():
    """Mammals are no tree: of two hypernyms the first is kept here, but all ancestors are judged."""
    mammals = load_wordnet("mammals", closure=False)
    once = mammals.edges[:, 0].diff(prepend=torch.tensor([-1])) != 0
    model = embed_tree(HopGraph.from_edges(mammals.edges[once], names=mammals.names), dim=5)
    whole = load_wordnet("mammals")
    score = reconstruction(model, HopGraph.from_edges(whole.edges, names=whole.names))
    assert score.mean_average_precision > 0.9


def test_the_seed_fixes_the_points_and_only_it():
    graph, other = TREES["random"], torch.random.get_rng_state()
    first = embed_tree(graph)
    assert torch.equal(torch.random.get_rng_state(), other)
    assert torch.equal(first.tangents, embed_tree(graph, seed=0).tangents)
    assert not torch.equal(first.tangents, embed_tree(graph, seed=1).tangents)


@pytest.mark.parametrize("count", [1, 2])
def test_nodes_without_links_have_a_place(count: int):
    model = embed_tree(HopGraph.from_edges([], names=[str(i) for i in range(count)]), dim=2)
    assert isinstance(model, HopEmbedding)
    assert bool(model.tangents.isfinite().all())
    assert count == 1 or math.dist(*model.tangents.tolist()) > 0


@pytest.mark.parametrize(
    ("graph", "options", "message"),
    [
        (HopGraph.from_edges([(1, 0), (2, 0), (2, 1)]), {}, "one parent a node"),
        (HopGraph.from_edges([(0, 1), (1, 0)]), {}, "a cycle"),
        (HopGraph.from_edges([(1, 0)], directed=False), {}, "undirected"),
        (HopGraph.from_edges([], names=[]), {}, "expected nodes, got none"),
        (TREES["random"], {"dim": 1}, "dim: expected at least 2, got 1"),
        (TREES["random"], {"dim": 0}, "dim: expected a whole number >= 1, got 0"),
        (TREES["random"], {"dim": 2}, "would put leaves of this tree at radius .*; raise dim"),
        (TREES["random"], {"seed": -1}, "seed: expected a whole number from 0"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(graph: HopGraph, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        embed_tree(graph, **options)
