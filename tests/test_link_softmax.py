"""Link softmax: loss and gradients against plain autograd, what is masked, what is drawn, and graphs of a few nodes."""

from __future__ import annotations

import math

import pytest
import torch
from hop_cases import SMALL, plain_distance, random_graph, tangents, tree
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopGraph, LinkSoftmax, fit, link_softmax
from hyperspectral_geo.hyperbolic.link_softmax import log_partition
from hyperspectral_geo.hyperbolic.parameters import HopParameters


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(
    graph: HopGraph, geometry="hyperbolic", *, two_points: bool = False, scale: float = 1.7
) -> HopParameters:
    tables = {"tangents": tangents(len(graph), 3, radius=1.2)}
    if two_points:
        tables["targets"] = tangents(len(graph), 3, radius=1.2, seed=1)
    return HopParameters(geometry, tables, {"log_scale": torch.tensor(math.log(scale), dtype=torch.float64)})


def sample(prepared, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a step with this seed draws: sources, the rows and ends of links, negatives."""
    drawing = generator(seed)
    source = prepared._sources(drawing)
    row, target = prepared.links.drawn(source, drawing)
    point = torch.rand(prepared.objective.negatives, generator=drawing, dtype=torch.float64) * prepared.cumulative[-1]
    negative = torch.searchsorted(prepared.cumulative, point).clamp_max(prepared.count - 1)
    return source, row, target, torch.unique(torch.cat([source, negative]))


def by_autograd(graph: HopGraph, own: HopParameters, drawn: tuple[Tensor, ...]) -> tuple[float, dict[str, Tensor]]:
    """Σ log(1 + Σ e^{s(d(u,v) − d(u,n))}): the mean over links, the gradient of the sum over sources' number."""
    source, row, target, negative = drawn
    leaves = {name: table.clone().requires_grad_() for name, table in own.tables.items()}
    scale = own.shared["log_scale"].exp()
    z, w = leaves["tangents"], leaves.get("targets", leaves["tangents"])
    total = torch.zeros((), dtype=torch.float64)
    for i, u in enumerate(source.tolist()):
        good = negative[~graph.has_links(torch.tensor(u), negative) & (negative != u)]
        near = scale * plain_distance(z[u : u + 1], w[target[row == i]], own.geometry)
        away = scale * plain_distance(z[u : u + 1], w[good], own.geometry)
        total = total + torch.log1p(torch.exp(near.T - away).sum(1)).sum()
    found = torch.autograd.grad(total / len(source), list(leaves.values()))
    return float(total.detach()) / len(row), dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("two_points", [False, True], ids=["one point", "two points"])
@pytest.mark.parametrize("name", ["tree", "hub", "karate club", "isolated nodes", "two cycles"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_loss_and_gradients_are_those_of_plain_autograd(geometry, name: str, two_points: bool):
    graph = SMALL[name]
    prepared = LinkSoftmax(sources=16, negatives=20, run=4).prepare(graph)
    own = parameters(graph, geometry, two_points=two_points)
    for seed in range(2):
        loss, gradients = prepared.step(own, generator(seed))
        expected, expected_gradients = by_autograd(graph, own, sample(prepared, seed))
        assert loss == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert set(gradients) == set(own.tables)
        for table, (rows, value) in gradients.items():
            assert rows is not None
            assert len(rows) == len(rows.unique())
            dense = torch.zeros_like(own.tables[table]).index_add_(0, rows, value)
            torch.testing.assert_close(dense, expected_gradients[table], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_log_partition_and_its_gradient(geometry, scale: float, dtype: torch.dtype):
    z, w = tangents(6, 4, radius=1.2), tangents(9, 4, radius=1.2, seed=1)
    hidden = torch.rand(6, 9, generator=generator()) < 0.3
    weight = torch.rand(6, generator=generator(1), dtype=torch.float64)

    def plain(z: Tensor, w: Tensor) -> Tensor:
        return torch.logsumexp((-scale * plain_distance(z, w, geometry)).masked_fill(hidden, -torch.inf), 1)

    def quick(z: Tensor, w: Tensor) -> Tensor:
        x, y = (link_softmax.points_from_tangents(t.to(dtype), geometry) for t in (z, w))
        return log_partition(x, y, geometry, scale, hidden.nonzero(as_tuple=True)).double()

    results = []
    for function in (plain, quick):
        leaves = z.clone().requires_grad_(), w.clone().requires_grad_()
        value = function(*leaves)
        results.append((value.detach(), *torch.autograd.grad((weight * value).sum(), leaves)))
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_rows_without_any_negative_weigh_nothing_and_have_no_gradient(geometry):
    z = tangents(3, 2).requires_grad_()
    points = link_softmax.points_from_tangents(z, geometry)
    rows = torch.tensor([0, 0, 0, 1])
    found = log_partition(points, points, geometry, 2.0, (rows, torch.tensor([0, 1, 2, 1])))
    assert float(found[0].detach()) < -600
    (gradient,) = torch.autograd.grad(torch.nn.functional.softplus(found + 5).sum(), z)
    assert bool(gradient.isfinite().all())
    assert float(torch.nn.functional.softplus(found[0] + 5).detach()) <= 1e-300


# What is masked and drawn


@given(n=st.integers(2, 30), links=st.integers(1, 200), seed=st.integers(0, 99))
def test_links_and_self_never_count_as_negatives(n: int, links: int, seed: int):
    graph = random_graph(n, links, seed=seed)
    assume(len(graph.edges))
    check_masks(graph, seed)


@pytest.mark.parametrize("name", SMALL)
def test_links_and_self_never_count_in_small_graphs(name: str):
    check_masks(SMALL[name], 0)


def check_masks(graph: HopGraph, seed: int) -> None:
    prepared = LinkSoftmax(sources=10, negatives=15, run=3).prepare(graph)
    source, row, target, negative = sample(prepared, seed)
    assert bool(graph.has_links(source[row], target).all())
    hidden = torch.zeros(len(source), len(negative), dtype=torch.bool)
    hidden[prepared._masked(source, prepared.links.every(source, (row, target)), negative)] = True
    expected = graph.has_links(source[:, None], negative) | (source[:, None] == negative)
    assert torch.equal(hidden, expected)
    assert bool((prepared.column == -1).all())  # nothing is kept for the next step


def test_a_step_depends_on_the_generator_alone():
    prepared, own = LinkSoftmax(sources=4, negatives=3).prepare(tree()), parameters(tree())
    first = prepared.step(own, generator(7))
    prepared.step(own, generator(8))
    again = prepared.step(own, generator(7))
    assert first[0] == again[0]
    assert torch.equal(first[1]["tangents"].value, again[1]["tangents"].value)
    assert first[0] != prepared.step(own, generator(8))[0]


@pytest.mark.parametrize("name", SMALL)
def test_all_links_are_met_and_of_hubs_a_sample(name: str):
    graph = SMALL[name]
    prepared = LinkSoftmax(sources=8, negatives=1, run=2).prepare(graph)
    seen = set()
    for seed in range(60 if len(graph) < 100 else 10):
        source, row, target, _ = sample(prepared, seed)
        assert len(source) <= 8
        assert len(source.unique()) == len(source)
        counts = torch.bincount(row, minlength=len(source))
        assert torch.equal(counts, prepared.links.degree[source].clamp_max(64))
        seen |= set(zip(source[row].tolist(), target.tolist(), strict=True))
    links = set(map(tuple, graph.edges.tolist()))
    assert seen <= links
    if len(graph) < 100:
        assert seen == links


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_negatives_come_by_degree_and_evenly(share: float):
    graph = SMALL["star inwards"]
    prepared = LinkSoftmax(by_degree=share).prepare(graph)
    popular = (torch.tensor([8.0] + [0.0] * 8, dtype=torch.float64) + 1) ** 0.75
    expected = share * popular / popular.sum() + (1 - share) / 9
    torch.testing.assert_close(prepared.cumulative.diff(prepend=torch.zeros(1).double()), expected)


@given(n=st.integers(1, 40), links=st.integers(0, 80), seed=st.integers(0, 99))
def test_the_walk_meets_every_node_once(n: int, links: int, seed: int):
    assert sorted(link_softmax._walk(random_graph(n, links, seed=seed)).tolist()) == list(range(n))


@pytest.mark.parametrize("name", SMALL)
def test_the_walk_meets_every_node_of_small_graphs_once(name: str):
    assert sorted(link_softmax._walk(SMALL[name]).tolist()) == list(range(len(SMALL[name])))


def test_the_walk_keeps_families_together():
    walk = link_softmax._walk(tree(6)).tolist()
    place = {node: i for i, node in enumerate(walk)}
    for top in range(1, 31):
        family = [node for node in walk if node == top or top in ancestors(node)]
        spots = sorted(place[node] for node in family)
        assert spots == list(range(spots[0], spots[0] + len(spots)))


def ancestors(node: int) -> list[int]:
    return [] if node == 0 else [(node - 1) // 2, *ancestors((node - 1) // 2)]


# Training


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", SMALL)
def test_small_graphs_train(name: str, geometry):
    graph = SMALL[name]
    model = fit(graph, dim=2, steps=6, geometry=geometry, objective=LinkSoftmax(sources=8, negatives=4))
    assert model.tangents.shape == (len(graph), 2)
    assert (model.geometry, model.scale, model.tangents.dtype) == (geometry, pytest.approx(3.0), torch.float64)
    assert (model.targets, model.outgoing, model.incoming, model.readout) == (None,) * 4


def test_reported_loss_is_the_documented_one():
    # One link and every negative drawn is either end of it, so the loss is log(1 + 0) = 0.
    told = []
    graph = HopGraph.from_edges([(0, 1)])
    fit(graph, dim=2, steps=10, objective=LinkSoftmax(), progress=lambda step, loss: told.append(loss))
    assert told == [pytest.approx(0.0, abs=1e-300)]
    # 99 nodes far from nothing at the start: all distances are about 1e-3, so each negative counts e^0 = 1.
    told.clear()
    graph = HopGraph.from_edges([(0, 1)], names=[str(i) for i in range(100)])
    objective = LinkSoftmax(negatives=5000, by_degree=0.0)
    fit(graph, dim=2, steps=10, objective=objective, learning_rate=1e-12, progress=lambda _, loss: told.append(loss))
    assert told[0] == pytest.approx(math.log(1 + 98), rel=1e-2)


BAD = {
    "no links": ({}, HopGraph.from_edges([], names=["a"]), "graph"),
    "no nodes": ({}, HopGraph.from_edges([]), "graph"),
    **{
        f"{name} {value!r}": ({name: value}, tree(2), name)
        for name, values in {
            **dict.fromkeys(("sources", "negatives", "run"), (0, -1, 2.0, True, "3", None)),
            "by_degree": (-0.1, 1.1, math.nan, "1", None, True),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize(("given", "graph", "name"), BAD.values(), ids=BAD)
def test_bad_numbers_and_graphs_are_refused(given: dict, graph: HopGraph, name: str, unchecked):
    with pytest.raises(ValueError, match=f"^{name}: expected .+ got"):
        LinkSoftmax(**given).prepare(graph)
