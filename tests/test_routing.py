"""Greedy routing against a plain walk over lists, shortest paths by networkx, and Wilson's interval by SciPy."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, routing
from hyperspectral_geo.hyperbolic.routing import Route, route, routing_success, wilson_interval


def random_graph(count: int = 40, links: int = 160, *, seed: int = 0, lengths: bool = False) -> HopGraph:
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(count, (links, 2), generator=generator)
    given = torch.rand(links, generator=generator, dtype=torch.float64) + 0.1 if lengths else None
    return HopGraph.from_edges(edges, names=[f"n{i}" for i in range(count)], lengths=given)


def random_model(graph: HopGraph, *, seed: int = 0, geometry: str = "hyperbolic") -> HopEmbedding:
    generator = torch.Generator().manual_seed(seed)
    tangents, targets = torch.randn(2, len(graph), 3, generator=generator, dtype=torch.float64)
    incoming = torch.rand(len(graph), generator=generator, dtype=torch.float64)
    return HopEmbedding(graph.names, tangents, geometry, 1.3, targets, incoming, incoming.flip(0))


def all_distances(model: HopEmbedding) -> dict[tuple[str, str], float]:
    n = len(model)
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    found = model.pair_distances(pairs[:, 0], pairs[:, 1]).tolist()
    return {(model.names[i // n], model.names[i % n]): d for i, d in enumerate(found)}


def plain_walk(
    table: dict[tuple[str, str], float], graph: HopGraph, source: str, target: str, *, most: int, revisit: bool
) -> Route:
    links: dict[str, list[str]] = {name: [] for name in graph.names}
    for a, b in graph.edges.tolist():
        links[graph.names[a]].append(graph.names[b])
    way = [source]
    while way[-1] != target:
        if len(way) - 1 >= most:
            return Route(tuple(way), "too long")
        choice = [name for name in links[way[-1]] if revisit or name not in way]
        if not choice:
            return Route(tuple(way), "dead end")
        nearest = target if target in choice else min(choice, key=lambda name: table[name, target])
        if nearest in way:
            return Route((*way, nearest), "circle")
        way.append(nearest)
    return Route(tuple(way), "arrived")


@pytest.mark.parametrize("revisit", [False, True])
@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean", "bilinear"])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_routes_are_those_of_a_plain_walk(revisit: bool, geometry: str, most: int):
    graph = random_graph()
    model = random_model(graph, geometry=geometry)
    table, ends = all_distances(model), []
    for i in range(30):
        pair = graph.names[i % 40], graph.names[(7 * i + 3) % 40]
        found = route(model, graph, *pair, most=most, revisit=revisit)
        assert found == plain_walk(table, graph, *pair, most=most, revisit=revisit)
        assert found.hops == len(found.names) - 1 <= most
        assert found.arrived == (found.names[-1] == pair[1])
        ends.append(found.stopped)
    assert "arrived" in ends
    assert ("too long" in ends) == (most < 100)


def line(*places: float) -> HopEmbedding:
    return HopEmbedding(tuple("abcdef"[: len(places)]), torch.tensor(places)[:, None], "euclidean")


CASES = {
    "straight": ([("a", "b"), ("b", "c")], [0.0, 1, 2], "a", "c", "abc", "arrived"),
    "already there": ([("a", "b")], [0.0, 1], "a", "a", "a", "arrived"),
    "a dead end": ([("a", "b"), ("a", "c"), ("c", "d")], [0.0, 2, 1, 3], "a", "d", "ab", "dead end"),
    "over a hill": ([("a", "b"), ("b", "c"), ("c", "d"), ("b", "a")], [5.0, 2, 9, 3], "a", "d", "abcd", "arrived"),
    "equally near": ([("a", "c"), ("a", "b"), ("b", "d"), ("c", "d")], [0.0, 1, 1, 5], "a", "d", "abd", "arrived"),
    "the target though it is not nearest": ([("a", "b"), ("a", "c")], [0.0, 9, 3], "a", "c", "ac", "arrived"),
}


@pytest.mark.parametrize(("edges", "places", "source", "target", "way", "stopped"), CASES.values(), ids=CASES)
def test_hand_made_ways(edges, places, source: str, target: str, way: str, stopped: str):
    model = line(*places)
    graph = HopGraph.from_edges(edges, names=model.names)
    assert route(model, graph, source, target) == Route(tuple(way), stopped)


def test_a_local_minimum_ends_the_walk_that_may_revisit():
    # From b all that leads on is farther from d than going back to a.
    model = line(1.0, 2.0, 9.0, 3.0)
    graph = HopGraph.from_edges([("a", "b"), ("b", "a"), ("b", "c"), ("c", "d")], names=model.names)
    assert route(model, graph, "a", "d").names == ("a", "b", "c", "d")
    assert route(model, graph, "a", "d", revisit=True) == Route(("a", "b", "a"), "circle")


def test_a_link_to_the_target_is_taken_even_where_scores_are_negative():
    graph = HopGraph.from_edges([("a", "b"), ("a", "c")], names="abc")
    model = HopEmbedding(graph.names, torch.ones(3, 1), "bilinear", outgoing=torch.tensor([0.0, -9.0, 0.0]))
    assert model.distance("b", "c") < model.distance("c", "c")
    assert route(model, graph, "a", "c").names == ("a", "c")


# How often it arrives


@pytest.mark.parametrize("lengths", [False, True], ids=["hops", "lengths"])
@pytest.mark.parametrize("revisit", [False, True])
def test_success_and_stretch_are_those_of_networkx(lengths: bool, revisit: bool):
    graph = random_graph(70, 210, lengths=lengths, seed=3)  # 70 sources: two blocks of 64
    model = random_model(graph)
    table = all_distances(model)
    pairs = torch.tensor([(i, (3 * i + 1) % 70) for i in range(70)])
    peer = nx.DiGraph()
    weights = [1.0] * len(graph.edges) if graph.lengths is None else graph.lengths.tolist()
    peer.add_nodes_from(range(70))
    peer.add_weighted_edges_from((a, b, w) for (a, b), w in zip(graph.edges.tolist(), weights, strict=True))
    joined, stretch = 0, []
    for a, b in pairs.tolist():
        if not nx.has_path(peer, a, b):
            continue
        joined += 1
        found = plain_walk(table, graph, graph.names[a], graph.names[b], most=100, revisit=revisit)
        if found.arrived:
            way = nx.path_weight(peer, [int(name[1:]) for name in found.names], "weight")
            stretch.append(way / nx.shortest_path_length(peer, a, b, weight="weight"))
    score = routing_success(model, graph, pairs, revisit=revisit)
    assert 0 < joined < len(pairs)
    assert 0 < len(stretch) < joined
    assert (score.pairs, score.unreachable) == (joined, len(pairs) - joined)
    assert score.success == len(stretch) / joined
    assert score.stretch == pytest.approx(sum(stretch) / len(stretch))
    assert score.as_dict()["low"] < score.success < score.high


def test_true_distances_always_arrive_by_a_shortest_way():
    ring = HopGraph.from_edges([(i, (i + 1) % 30) for i in range(30)], directed=False)
    turn = torch.arange(30, dtype=torch.float64) * 2 * torch.pi / 30
    model = HopEmbedding(ring.names, torch.stack([turn.cos(), turn.sin()], 1), "euclidean")
    score = routing_success(model, ring, 40, seed=5)
    assert (score.success, score.stretch, score.pairs, score.unreachable) == (1, 1, 40, 0)
    assert score.low == pytest.approx(binomtest(40, 40).proportion_ci(method="wilson").low)


@pytest.mark.parametrize("count", [1, 5, 6, 10, 12, 13, 1000])
def test_no_pair_is_drawn_twice(count: int):
    graph = HopGraph.from_edges([(a, b) for a in range(4) for b in range(4) if a != b])
    drawn = routing._drawn(4, count, 3)
    assert len(set(map(tuple, drawn.tolist()))) == len(drawn) == min(count, 12)
    assert bool((drawn[:, 0] != drawn[:, 1]).all())
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < 4
    assert routing_success(random_model(graph), graph, count, seed=3).pairs == min(count, 12)


@pytest.mark.parametrize("count", [4, 8])
def test_every_pair_is_drawn_as_often_as_another(count: int):
    drawn = torch.cat([routing._drawn(4, count, seed) for seed in range(3000)])
    found = (4 * drawn[:, 0] + drawn[:, 1]).bincount(minlength=16).reshape(4, 4)
    expected = 3000 * count / 12
    assert found.diagonal().sum() == 0
    assert (found[~torch.eye(4, dtype=torch.bool)] - expected).abs().max() < 5 * expected**0.5


def test_one_link_is_one_pair_and_says_little():
    graph = HopGraph.from_edges([("a", "b")], names=list("abcd"))
    score = routing_success(random_model(graph), graph, 1000)
    assert (score.pairs, score.unreachable, score.success) == (1, 11, 1)
    assert score.low == pytest.approx(binomtest(1, 1).proportion_ci(method="wilson").low)


def test_none_joined_says_how_many_were_drawn():
    graph = HopGraph.from_edges([], names=list("abcd"))
    with pytest.raises(routing.NoRoutesError, match="none among 12") as caught:
        routing_success(random_model(graph), graph, 1000)
    assert caught.value.pairs == 12


def test_none_that_arrives_leaves_the_stretch_unknown():
    graph = HopGraph.from_edges([("a", "b"), ("a", "c"), ("c", "d")])
    score = routing_success(line(0.0, 2.0, 1.0, 3.0), graph, torch.tensor([[0, 3], [1, 0]]))
    assert (score.success, score.low, score.pairs, score.unreachable) == (0, 0, 1, 1)
    assert math.isnan(score.stretch)


def test_the_seed_fixes_the_pairs():
    graph = random_graph(200, 700)
    model = random_model(graph)
    scores = [routing_success(model, graph, 15, seed=seed) for seed in (1, 1, 2)]
    assert scores[0] == scores[1] != scores[2]


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_is_scipys(trials: int, share: float):
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


GRAPH = HopGraph.from_edges([("a", "b"), ("b", "c")])
BAD = {
    "unknown source": (lambda m: route(m, GRAPH, "z", "a"), "'z' is not one of the 3 concepts"),
    "unknown target": (lambda m: route(m, GRAPH, "a", "z"), "'z' is not one of the 3 concepts"),
    "no hops": (lambda m: route(m, GRAPH, "a", "b", most=0), "most: expected a whole number >= 1, got 0"),
    "another graph": (lambda m: route(m, random_graph(), "a", "b"), "other names"),
    "success on another graph": (lambda m: routing_success(m, random_graph()), "other names"),
    "no pairs": (lambda m: routing_success(m, GRAPH, 0), "pairs: expected a whole number >= 1, got 0"),
    "empty pairs": (lambda m: routing_success(m, GRAPH, torch.zeros(0, 2, dtype=torch.long)), "or none"),
    "not nodes": (lambda m: routing_success(m, GRAPH, torch.tensor([[0, 3]])), "from 0 to 2"),
    "negative": (lambda m: routing_success(m, GRAPH, torch.tensor([[0, -1]])), "from 0 to 2"),
    "itself": (lambda m: routing_success(m, GRAPH, torch.tensor([[1, 1]])), "two different nodes"),
    "real pairs": (lambda m: routing_success(m, GRAPH, torch.ones(2, 2)), r"\(k, 2\), got torch.float32"),
    "triples": (lambda m: routing_success(m, GRAPH, torch.ones(2, 3).long()), r"\(k, 2\), got torch.int64 \(2, 3\)"),
    "never joined": (lambda m: routing_success(m, GRAPH, torch.tensor([[2, 0]])), "none among 1"),
}


@pytest.mark.parametrize(("ask", "said"), BAD.values(), ids=BAD)
def test_bad_questions_are_refused(ask, said: str, unchecked):
    with pytest.raises(ValueError, match=said):
        ask(line(0.0, 1.0, 2.0))


def test_one_node_has_nowhere_to_go():
    graph = HopGraph.from_edges([], names=["a"])
    model = HopEmbedding(("a",), torch.zeros(1, 2))
    assert route(model, graph, "a", "a") == Route(("a",), "arrived")
    with pytest.raises(ValueError, match="at least two nodes"):
        routing_success(model, graph)
