"""Ancestors walked instead of stored, and training that goes on from a model: both agree with what they stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_forest import grown

from hyperspectral_geo.data import transitive_closure
from hyperspectral_geo.hyperbolic import (
    HopEmbedding,
    HopGraph,
    HopRegression,
    LinkSoftmax,
    embed_tree,
    fit,
    reconstruction,
)
from hyperspectral_geo.hyperbolic.ancestor_ranks import ancestor_precision
from hyperspectral_geo.hyperbolic.forest import Forest
from hyperspectral_geo.hyperbolic.geometry import exact_distance, points_from_tangents
from hyperspectral_geo.hyperbolic.link_lists import AncestorLinks, StoredLinks

TREE = grown(300, seed=5)
ANCESTORS = LinkSoftmax(sources=64, negatives=32, run=8, ancestors=True)


def closure(graph: HopGraph) -> HopGraph:
    return HopGraph.from_edges(transitive_closure(graph.edges, len(graph)), names=graph.names)


def pairs(links: StoredLinks | AncestorLinks, sources: torch.Tensor) -> set[tuple[int, int]]:
    row, end = links.every(sources, links.drawn(sources, torch.Generator().manual_seed(0)))
    return set(zip(row.tolist(), end.tolist(), strict=True))


@given(size=st.integers(1, 60), seed=st.integers(0, 1000), roots=st.integers(1, 3))
def test_the_walked_closure_is_the_stored_one(size: int, seed: int, roots: int):
    tree = grown(size, seed, min(roots, size))
    walked, stored = AncestorLinks(tree), StoredLinks(closure(tree))
    assert torch.equal(walked.degree, stored.degree)
    assert torch.equal(walked.popularity, stored.popularity)
    sources = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    assert pairs(walked, sources) == pairs(stored, sources)


def test_training_on_parents_finds_all_ancestors():
    whole = closure(TREE)
    model = fit(TREE, dim=5, objective=ANCESTORS, steps=300)
    assert reconstruction(model, whole).mean_average_precision > 0.8
    only_parents = fit(TREE, dim=5, objective=replace(ANCESTORS, ancestors=False), steps=300)
    assert reconstruction(only_parents, whole).mean_average_precision < 0.7


def test_training_goes_on_from_a_start():
    laid_out, whole = embed_tree(TREE, dim=4), closure(TREE)
    before = laid_out.tangents.clone()
    same = fit(TREE, dim=4, objective=ANCESTORS, start=laid_out, steps=1, learning_rate=1e-12)
    assert same.scale == pytest.approx(laid_out.scale)
    torch.testing.assert_close(same.tangents, laid_out.tangents, atol=1e-9, rtol=0)
    better = fit(TREE, dim=4, objective=ANCESTORS, start=laid_out, steps=300, learning_rate=0.01, scale=2.0)
    assert better.scale == pytest.approx(2.0)
    found, known = (reconstruction(model, whole).mean_average_precision for model in (better, laid_out))
    assert found > known > 0.8
    assert torch.equal(laid_out.tangents, before)


def test_all_parts_of_a_start_are_taken_over():
    graph = HopGraph.from_edges([(i, (i * 7 + 1) % 30) for i in range(30)] + [(i, (i + 1) % 30) for i in range(30)])
    first = fit(graph, dim=3, steps=40)
    again = fit(graph, dim=3, start=first, steps=1, learning_rate=1e-12)
    torch.testing.assert_close(again.distances(), first.distances(), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="scalars or read-out are trained by no objective"):
        fit(graph, dim=3, start=first, objective=LinkSoftmax())


def test_an_interrupted_run_resumes_from_its_start_bit_by_bit(tmp_path: Path):
    start = embed_tree(TREE, dim=3)
    options = {"dim": 3, "objective": ANCESTORS, "steps": 30, "every": 10, "learning_rate": 1e-3}
    whole = fit(TREE, start=start, **options)

    def stop(step: int, loss: float) -> None:
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TREE, start=start, checkpoint=tmp_path, progress=stop, **options)
    resumed = fit(TREE, start=start, checkpoint=tmp_path, resume=True, **options)
    assert torch.equal(resumed.tangents, whole.tangents)
    with pytest.raises(ValueError, match="another graph, objective or setting"):
        fit(TREE, start=embed_tree(TREE, dim=3, seed=1), checkpoint=tmp_path, resume=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": embed_tree(grown(300, seed=6), dim=4)}, None),
        ({"start": embed_tree(grown(299, seed=6), dim=4)}, "start: expected a model of this graph"),
        ({"dim": 5}, "start: expected 5 dimensions, hyperbolic, got 4, hyperbolic"),
        ({"geometry": "euclidean"}, "start: expected 4 dimensions, euclidean, got 4, hyperbolic"),
        ({"two_points": True}, "two_points: a start brings its own"),
        ({"dtype": torch.float32, "readout": 3, "objective": HopRegression()}, "readout, dtype: a start brings its"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(options: dict, message: str | None):
    given = {"start": embed_tree(TREE, dim=4), "dim": 4, "objective": ANCESTORS, "steps": 1, **options}
    if message is None:
        fit(TREE, **given)
        return
    with pytest.raises(ValueError, match=message):
        fit(TREE, **given)


@pytest.mark.parametrize(
    ("graph", "ancestors", "message"),
    [
        (HopGraph.from_edges([(1, 0), (2, 0), (2, 1)]), True, "one parent a node"),
        (HopGraph.from_edges([(1, 0), (0, 1)]), True, "a cycle"),
        (HopGraph.from_edges([(1, 0)], directed=False), True, "undirected"),
        (TREE, "yes", "ancestors: expected True or False, got 'yes'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_ancestors_of_what_is_no_forest_are_refused(graph: HopGraph, ancestors: object, message: str):
    with pytest.raises(ValueError, match=message):
        LinkSoftmax(ancestors=ancestors).prepare(graph)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_the_sampled_precision_is_that_of_reconstruction(geometry: str, spread: float):
    model = embed_tree(TREE, dim=4)
    noise = torch.randn(model.tangents.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = replace(model, geometry=geometry, tangents=model.tangents + spread * noise)
    forest, whole = Forest.of(TREE), closure(TREE)
    for part in forest.depth.nonzero()[:, 0].split(60):
        linked = whole.edges[torch.isin(whole.edges[:, 0], part)]
        expected = reconstruction(model, HopGraph.from_edges(linked, names=whole.names)).mean_average_precision
        assert ancestor_precision(model, forest, part).mean().item() == pytest.approx(expected, abs=1e-9)


def by_loops(model: HopEmbedding, forest: Forest, source: int) -> float:
    """Average precision as it is defined, from distances without cancellation."""
    points = points_from_tangents(model.tangents, model.geometry)
    distance = exact_distance(points[source], points, model.geometry).tolist()
    above = forest.ancestors(torch.tensor([source]))[1].tolist()
    others = [distance[i] for i in range(len(points)) if i != source and i not in above]
    near = sorted(distance[i] for i in above)
    return sum(j / (j + sum(d <= limit for d in others)) for j, limit in enumerate(near, 1)) / len(near)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
@pytest.mark.parametrize("far", [0.0, 3.0, 20.0])
@pytest.mark.parametrize("spread", [0.0, 1e-13, 1e-9, 1e-6, 1e-2])
def test_the_sampled_precision_tells_near_points_apart(geometry: str, far: float, spread: float):
    tangents = spread * torch.randn(300, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tangents[:, 0] += far
    model = HopEmbedding(TREE.names, tangents, geometry=geometry)  # pyright: ignore[reportArgumentType]
    forest = Forest.of(TREE)
    sources = forest.depth.nonzero()[::15, 0]
    expected = [by_loops(model, forest, source) for source in sources.tolist()]
    assert ancestor_precision(model, forest, sources).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("step", [1e-9, 1e-4, 0.1])
def test_the_sampled_precision_of_a_chain_is_that_of_its_definition(step: float):
    chain = HopGraph.from_edges([(i, i - 1) for i in range(1, 100)])
    model = HopEmbedding(chain.names, step * torch.arange(100.0, dtype=torch.float64)[:, None] ** 1.1)
    forest, sources = Forest.of(chain), torch.arange(1, 100)
    expected = [by_loops(model, forest, source) for source in sources.tolist()]
    assert ancestor_precision(model, forest, sources).tolist() == pytest.approx(expected, abs=1e-12)


def test_the_sampled_precision_of_no_sources_is_empty():
    found = ancestor_precision(embed_tree(TREE, dim=4), Forest.of(TREE), torch.empty(0, dtype=torch.int64))
    assert (found.shape, found.dtype) == ((0,), torch.float64)


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        (embed_tree(grown(299, seed=5), dim=4), 1, "forest: expected the model's 299 nodes, got 300"),
        (embed_tree(TREE, dim=4), int(Forest.of(TREE).depth.argmin()), "sources: expected nodes that have ancestors"),
    ],
)
def test_the_sampled_precision_refuses_other_forests_and_roots(model: HopEmbedding, source: int, message: str):
    with pytest.raises(ValueError, match=message):
        ancestor_precision(model, Forest.of(TREE), torch.tensor([source]))


def test_the_sampled_precision_knows_two_geometries():
    model = replace(embed_tree(TREE, dim=4), geometry="spherical")
    with pytest.raises(ValueError, match="expected hyperbolic or Euclidean points, got 'spherical'"):
        ancestor_precision(model, Forest.of(TREE), torch.tensor([1]))
