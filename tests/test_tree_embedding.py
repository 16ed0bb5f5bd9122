"""Trees laid out: ancestors first, caps in caps, the same points for the same seed, and what cannot be laid out."""

from __future__ import annotations

import math

import pytest
import torch
from test_forest import grown

from hyperspectral_geo.data import load_wordnet, transitive_closure
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, embed_tree, reconstruction
from hyperspectral_geo.hyperbolic.forest import Forest


def closure(graph: HopGraph) -> HopGraph:
    return HopGraph.from_edges(transitive_closure(graph.edges, len(graph)), names=graph.names)


def from_leaves(graph: HopGraph) -> HopGraph:
    """The closure's links of nodes that nothing lies below."""
    whole = closure(graph)
    leaf = Forest.of(graph).descendants() == 0
    return HopGraph.from_edges(whole.edges[leaf[whole.edges[:, 0]]], names=graph.names)


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


@pytest.mark.parametrize("dim", [4, 10, 30])
def test_more_dimensions_need_less_radius(dim: int):
    graph = TREES["random"]
    found = embed_tree(graph, dim=dim)
    assert found.tangents.shape == (len(graph), dim)
    assert found.tangents.dtype == torch.float64
    assert reconstruction(found, from_leaves(graph)).mean_average_precision > 0.98
    radius = torch.linalg.vector_norm(found.tangents, dim=1).max()
    assert radius <= torch.linalg.vector_norm(embed_tree(graph, dim=3).tangents, dim=1).max()


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
    assert float(width.max()) == pytest.approx(1.0)


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
