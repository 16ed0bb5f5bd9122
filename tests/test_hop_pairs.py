"""Where hop regression draws from: tables, stores of rows, samples; what is held out never comes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import networkx
import pytest
import torch
from hop_cases import SMALL, random_graph, tangents
from torch import Tensor

from hyperspectral_geo.hyperbolic import (
    GEOMETRIES,
    HopEmbedding,
    HopGraph,
    HopRegression,
    HopSamples,
    HopStore,
    Staircase,
    fit,
    held_out_pairs,
    hop_counts,
    hop_samples,
    hop_scores,
)
from hyperspectral_geo.hyperbolic import hop_pairs as module
from hyperspectral_geo.hyperbolic.checkpoint import fingerprint
from hyperspectral_geo.hyperbolic.hop_pairs import default_samples, hop_pairs
from hyperspectral_geo.hyperbolic.parameters import HopParameters

GRAPH = random_graph(150, 320, seed=2)  # some pairs without a walk
TABLE = hop_counts(GRAPH)
HELD = held_out_pairs(150, 0.3, seed=1)
SOURCES = torch.arange(0, 150, 2).flip(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scale_free(nodes: int) -> HopGraph:
    """A graph of preferential attachment, three links a new node."""
    links = networkx.barabasi_albert_graph(nodes, 3, seed=0).edges
    return HopGraph.from_edges(list(links), directed=False, names=[str(i) for i in range(nodes)])


def every_sample(graph: HopGraph, table: Tensor) -> HopSamples:
    sources, targets = ((table == table) & ~torch.eye(len(graph), dtype=torch.bool)).nonzero(as_tuple=True)
    return HopSamples(sources, targets, table[sources, targets].long())  # −1 where there is no walk


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HopStore]:
    folder = tmp_path_factory.mktemp("stores")
    return {
        "onward": HopStore.build(GRAPH, folder / "onward", SOURCES),
        "toward": HopStore.build(GRAPH, folder / "toward", SOURCES, reverse=True),
    }


KINDS: dict[str, Callable[[dict], object]] = {
    "table": lambda stores: TABLE,
    "nothing": lambda stores: None,
    "store": lambda stores: stores["onward"],
    "store against the links": lambda stores: stores["toward"],
    "samples": lambda stores: every_sample(GRAPH, TABLE),
}
HELDS = {"none": None, "by hashing": HELD, "by a function": lambda s, t: HELD.mask(s, t)}


@pytest.mark.parametrize("held", HELDS.values(), ids=HELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_have_their_distance_and_none_is_held_out(kind: str, held, stores):
    pairs = hop_pairs(GRAPH, KINDS[kind](stores), held=held, block=9)
    seen = torch.zeros(150, 150, dtype=torch.bool)
    for seed in range(300):
        sources, targets, hops, real, paired = pairs.draw(generator(seed))
        assert paired == (kind == "samples")
        rows = sources if paired else sources[:, None]
        expected = TABLE[rows, targets]
        away = HELD.contains(rows, targets) if held is not None else torch.zeros_like(real)
        assert torch.equal(hops.long(), expected.long())
        assert torch.equal(real, (expected > 0) & ~away)
        seen[rows.expand_as(real)[real], targets.expand_as(real)[real]] = True
    may = (TABLE > 0) & ~HELD.mask() if held is not None else TABLE > 0
    ends = torch.isin(torch.arange(150), SOURCES)
    there = {"store": ends[:, None], "store against the links": ends}.get(kind, torch.ones(150, dtype=torch.bool))
    assert not bool((seen & ~(may & there)).any())
    assert int(seen.sum()) > 0.5 * int((may & there).sum())
    assert pairs.mean == pytest.approx(float(TABLE[may & there].double().mean()))
    assert pairs.longest == float(TABLE[may & there].max())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_a_function_of_the_generator(kind: str, stores):
    pairs = hop_pairs(GRAPH, KINDS[kind](stores), held=HELD, block=9)
    first, again, other = (pairs.draw(generator(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first[:4], again[:4], strict=True))
    assert not torch.equal(first.sources, other.sources)


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_single_pairs_give_the_loss_and_the_gradients_of_a_block(geometry, directed: bool):
    """All pairs of six nodes, once as a block and once one by one."""
    tables = {
        "tangents": tangents(6, 3, radius=1.2),
        "outgoing": tangents(6, 1)[:, 0],
        "incoming": tangents(6, 1)[:, 0],
    }
    if directed:
        tables["targets"] = tangents(6, 3, radius=1.2, seed=1)
    stairs = Staircase.even(3, dtype=torch.float64)
    shared = {"log_scale": torch.tensor(0.4).double(), "thresholds": stairs.thresholds, "log_slopes": stairs.log_slopes}
    own = HopParameters(geometry, tables, shared)
    graph = random_graph(6, 14, seed=4)
    hops = hop_counts(graph)
    block = HopRegression(hops=hops, block=6).prepare(graph)
    single = HopRegression(hops=every_sample(graph, hops), block=1).prepare(graph)
    single.source.draw = lambda _: module.Drawn(  # each pair once  # pyright: ignore
        *single.source.samples, torch.ones(len(single.source.samples.hops), dtype=torch.bool), True
    )
    (loss, expected), (found_loss, found) = (part.step(own, generator()) for part in (block, single))
    assert found_loss == pytest.approx(loss, rel=1e-9)
    assert set(found) == set(expected)
    for name, (at, value) in found.items():
        dense, reference = torch.zeros_like(own.all()[name]), torch.zeros_like(own.all()[name])
        where = expected[name].rows
        dense = value if at is None else dense.index_add_(0, at, value)
        reference = expected[name].value if where is None else reference.index_add_(0, where, expected[name].value)
        torch.testing.assert_close(dense, reference, rtol=1e-7, atol=1e-9)


def same(one: HopEmbedding, other: HopEmbedding) -> bool:
    return torch.equal(one.tangents, other.tangents) and torch.equal(one.distances(), other.distances())


@pytest.mark.parametrize("held", list(HELDS.values())[1:], ids=list(HELDS)[1:])
def test_held_out_samples_have_no_influence(held):
    samples = every_sample(GRAPH, TABLE)
    away = HELD.contains(samples.sources, samples.targets)
    changed = samples._replace(hops=torch.where(away, 77, samples.hops))
    options = {"dim": 2, "steps": 6}
    models = [fit(GRAPH, objective=HopRegression(hops=s, held=held, block=4), **options) for s in (samples, changed)]
    assert same(*models)
    assert not same(models[0], fit(GRAPH, objective=HopRegression(hops=changed, block=4), **options))


# Samples by default


@pytest.mark.parametrize(
    "graph", [GRAPH, SMALL["karate club"], SMALL["two cycles"]], ids=["random", "karate", "cycles"]
)
def test_default_samples_of_a_small_graph_are_all_pairs(graph: HopGraph):
    table = hop_counts(graph)
    sources, targets, hops = default_samples(graph)
    assert torch.equal(table[sources, targets].long(), hops)
    keys = sources * len(graph) + targets
    assert torch.equal(keys, (table > 0).flatten().nonzero()[:, 0])


def test_default_samples_are_as_frequent_as_all_pairs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LEAST_PAIRS", 20_000)
    graph = scale_free(600)
    table = hop_counts(graph)
    sources, targets, hops = default_samples(graph, sources=200)
    assert len(hops) > 18_000
    assert torch.equal(table[sources, targets].long(), hops)
    assert len((sources * 600 + targets).unique()) == len(hops)
    shares = [torch.bincount(counts[counts > 0].long(), minlength=9) / (counts > 0).sum() for counts in (hops, table)]
    assert float((shares[0] - shares[1]).abs().max()) < 0.02
    ends = [torch.bincount(part, minlength=600) for part in (sources, targets)]
    assert all(float((count > 5).double().mean()) > 0.9 for count in ends)
    again, other = default_samples(graph, sources=200), default_samples(graph, sources=200, seed=1)
    assert torch.equal(again.sources, sources)
    assert not torch.equal(other.sources, sources)


def test_a_graph_too_large_for_all_pairs_is_sampled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_NODES", 100)
    model = fit(GRAPH, dim=2, steps=6, objective=HopRegression(block=4))
    assert same(model, fit(GRAPH, dim=2, steps=6, objective=HopRegression(hops=default_samples(GRAPH), block=4)))
    weighted = HopGraph.from_edges(GRAPH.edges, names=GRAPH.names, lengths=torch.rand(len(GRAPH.edges)) + 0.1)
    with pytest.raises(
        ValueError, match=r"^graph: expected at most 100 nodes where links have lengths, got 150; .*Store"
    ):
        fit(weighted, dim=2, steps=6)
    nothing = HopGraph.from_edges([], names=[str(i) for i in range(120)])
    with pytest.raises(ValueError, match="^graph: expected pairs that a walk joins"):
        fit(nothing, dim=2, steps=6)


# As good as the table


def judged(model: HopEmbedding, graph: HopGraph, held) -> tuple[float, float]:
    some = torch.randperm(len(graph), generator=generator(1))[:150].sort().values
    scores = hop_scores(model, hop_counts(graph, some), sources=some, held=held)
    return scores.r2, scores.average_distortion


def test_samples_and_stores_teach_what_the_table_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LEAST_PAIRS", 100_000)
    graph = scale_free(400)
    held = held_out_pairs(400, 0.1, seed=1, directed=False)
    store = HopStore.build(graph, tmp_path / "store", torch.randperm(400, generator=generator())[:200])
    found = {}
    for name, hops, block in (("table", None, 128), ("store", store, 128), ("samples", default_samples(graph), 256)):
        objective = HopRegression(hops=hops, held=held, block=block)
        model = fit(graph, dim=8, steps=200, objective=objective, learning_rate=0.05)
        found[name] = judged(model, graph, held)
    assert found["table"][0] > 0.2
    for name in ("store", "samples"):
        assert found[name][0] > found["table"][0] - 0.05, found
        assert found[name][1] < found["table"][1] + 0.01, found


@pytest.mark.slow
def test_fifty_thousand_nodes_are_embedded_as_well_as_four_thousand():
    found = {}
    for nodes in (4_000, 50_000):
        graph = scale_free(nodes)
        held = held_out_pairs(nodes, 0.1, seed=1, directed=False)
        found[nodes] = judged(fit(graph, steps=1000, objective=HopRegression(held=held)), graph, held)
    assert found[4_000][0] > 0.3
    assert found[50_000][0] > found[4_000][0] - 0.1, found
    assert found[50_000][1] < found[4_000][1] + 0.01, found


# What else tells runs apart, and what is refused


def test_the_fingerprint_sees_every_sample_and_the_store(stores):
    samples = every_sample(GRAPH, TABLE)
    other = samples._replace(hops=samples.hops.clone().index_fill_(0, torch.tensor([5000]), 3))
    kinds = [samples, every_sample(GRAPH, TABLE), other, *stores.values()]
    found = [fingerprint(GRAPH, [(1.0, HopRegression(hops=kind))], {}) for kind in kinds]
    assert found[0] == found[1]
    assert len(set(found)) == 4


ONE = torch.tensor([1])
BAD = {
    "a store of another graph": (lambda stores: {"hops": stores["onward"]}, SMALL["chain"], "hops"),
    "a list": (lambda stores: {"hops": [[0, 1], [1, 0]]}, GRAPH, "hops"),
    "a table of another graph": (lambda stores: {"hops": TABLE[:7, :7]}, GRAPH, "hops"),
    "held of other nodes": (lambda stores: {"held": held_out_pairs(7, 0.1, seed=0)}, GRAPH, "held"),
    "held a table": (lambda stores: {"held": TABLE > 3}, GRAPH, "held"),
    **{
        f"samples {name}": (lambda stores, samples=samples: {"hops": samples}, GRAPH, "hops")
        for name, samples in {
            "beyond": HopSamples(ONE, ONE + 149, ONE),
            "below": HopSamples(ONE - 2, ONE, ONE),
            "of real numbers": HopSamples(ONE.double(), ONE + 1, ONE),
            "of other lengths": HopSamples(ONE, torch.arange(2), ONE),
            "in a table": HopSamples(*(torch.ones(2, 2).long(),) * 3),
            "in lists": HopSamples([0], [1], [1]),
        }.items()
    },
    **{
        f"samples {name}": (lambda stores, samples=samples: {"hops": samples}, GRAPH, "graph")
        for name, samples in {
            "none": HopSamples(*(ONE[:0],) * 3),
            "of nodes and themselves": HopSamples(ONE, ONE, ONE),
            "without walks": HopSamples(ONE, ONE + 1, torch.tensor([math.inf])),
        }.items()
    },
}


@pytest.mark.parametrize(("given", "graph", "name"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(given, graph: HopGraph, name: str, stores, unchecked):
    with pytest.raises(ValueError, match=f"^{name}[a-z.]*: expected .+ got"):
        HopRegression(**given(stores)).prepare(graph)


def test_samples_with_lengths_are_trained_on():
    lengths = torch.rand(len(GRAPH.edges), generator=generator(), dtype=torch.float64) + 0.5
    graph = HopGraph.from_edges(GRAPH.edges, names=GRAPH.names, lengths=lengths)
    table = hop_counts(graph)
    sources, targets = (table.isfinite() & (table > 0)).nonzero(as_tuple=True)
    pairs = hop_pairs(graph, HopSamples(sources, targets, table[sources, targets]), block=4)
    drawn = pairs.draw(generator())
    assert torch.equal(drawn.hops, table[drawn.sources, drawn.targets])


def test_samples_of_the_library_fit():
    samples = hop_samples(GRAPH, 500, seed=0)
    drawn = list(itertools.islice((hop_pairs(GRAPH, samples, block=2).draw(generator(i)) for i in range(50)), 50))
    assert all(torch.equal(TABLE[d.sources, d.targets].long(), d.hops) for d in drawn)
