"""Hop regression: the loss by its formula, gradients by autograd, and pairs that must have no say."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hop_cases import SMALL, plain_distance, random_graph, tangents, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopGraph, HopRegression, Staircase, fit, hop_counts, hop_scores
from hyperspectral_geo.hyperbolic.parameters import HopParameters

PARTS = [parts for count in range(4) for parts in itertools.combinations(("targets", "scalars", "readout"), count)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(n: int, geometry="hyperbolic", parts=("targets", "scalars", "readout")) -> HopParameters:
    tables = {"tangents": tangents(n, 3, radius=1.2)}
    shared = {"log_scale": torch.tensor(0.4, dtype=torch.float64)}
    if "targets" in parts:
        tables["targets"] = tangents(n, 3, radius=1.2, seed=1)
    if "scalars" in parts:
        tables |= {name: tangents(n, 1, seed=s)[:, 0] for name, s in (("outgoing", 2), ("incoming", 3))}
    if "readout" in parts:
        stairs = Staircase.even(3, dtype=torch.float64)
        shared |= {"thresholds": stairs.thresholds, "log_slopes": stairs.log_slopes}
    return HopParameters(geometry, tables, shared)


def predicted(tensors: dict[str, Tensor], geometry: str) -> Tensor:
    """ŷ of all pairs, plainly."""
    score = tensors["log_scale"].exp() * plain_distance(
        tensors["tangents"], tensors.get("targets", tensors["tangents"]), geometry
    )
    if "outgoing" in tensors:
        score = score + tensors["outgoing"][:, None] + tensors["incoming"]
    if "thresholds" in tensors:
        rise = torch.sigmoid(tensors["log_slopes"].exp() * (score[..., None] - tensors["thresholds"]))
        score = 1 + rise.sum(-1)
    return score


def first_logit(tensors: dict[str, Tensor], geometry: str) -> Tensor:
    """β₁(x − θ₁) of all pairs, by the inverse of the read-out of one step."""
    only = {**tensors, "thresholds": tensors["thresholds"][:1], "log_slopes": tensors["log_slopes"][:1]}
    return torch.logit(predicted(only, geometry) - 1)


def surprise_of_links(tensors: dict[str, Tensor], geometry: str) -> Tensor:
    return -torch.log(1 - torch.sigmoid(first_logit(tensors, geometry)))


def surprise_of_others(tensors: dict[str, Tensor], geometry: str) -> Tensor:
    return -torch.log(torch.sigmoid(first_logit(tensors, geometry)))


def block(n: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """The rows and columns of a step with this seed."""
    drawing = generator(seed)
    rows, columns = (torch.randperm(n, generator=drawing)[:size] for _ in range(2))
    return rows, columns


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "+".join(parts) or "bare")
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_loss_and_gradients_are_those_of_the_formula(geometry, parts):
    graph = random_graph(14, 30)
    hops = hop_counts(graph)
    relative, links = 0.3, 0.7

    def held(sources: Tensor, targets: Tensor) -> Tensor:
        return (sources[:, None] + targets) % 5 == 0

    prepared = HopRegression(relative=relative, links=links, block=9, held=held).prepare(graph)
    own = parameters(14, geometry, parts)
    loss, gradients = prepared.step(own, generator(4))
    # the same by the formula
    everything = torch.arange(14)
    counts = (hops > 0) & ~held(everything, everything)
    mean = hops[counts].double().mean()
    rows, columns = block(14, 9, 4)
    inside = torch.zeros(14, 14, dtype=torch.bool)
    inside[rows[:, None], columns] = True
    pairs = counts & inside
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in own.all().items()}
    found, h = predicted(leaves, geometry)[pairs], hops[pairs].double()
    off = found - h
    expected = (((1 - relative) + relative * (mean / h).square()) * off.square()).mean()
    if "readout" in parts:
        expected = expected + links * surprise_of_links(leaves, geometry)[pairs].where(h == 1, 0).mean()
        expected = expected + links * surprise_of_others(leaves, geometry)[pairs].where(h > 1, 0).mean()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-10)
    expected.backward()
    assert set(gradients) == set(leaves)
    for name, (at, value) in gradients.items():
        dense = value if at is None else torch.zeros_like(own.tables[name]).index_add_(0, at, value)
        torch.testing.assert_close(dense, leaves[name].grad, rtol=1e-7, atol=1e-9)
        assert (at is None) == (name in own.shared)


@pytest.mark.parametrize(("relative", "expected"), [(0.0, "squares"), (1.0, "relative")])
def test_the_two_ends_of_the_loss(relative: float, expected: str):
    graph = SMALL["chain"]
    h = hop_counts(graph).double()
    own = parameters(7, "euclidean", ())
    loss, _ = HopRegression(relative=relative).prepare(graph).step(own, generator())
    y = predicted(own.all(), "euclidean")[h > 0]
    h = h[h > 0]
    by_hand = {"squares": (y - h).square().mean(), "relative": h.mean() ** 2 * (y / h - 1).square().mean()}
    assert loss == pytest.approx(float(by_hand[expected]), rel=1e-12)


def test_a_step_depends_on_the_generator_alone():
    prepared, own = HopRegression(block=4).prepare(tree()), parameters(15)
    first, other, again = (prepared.step(own, generator(seed))[0] for seed in (7, 8, 7))
    assert first == again != other


# Pairs that have no say


def same(*models) -> bool:
    names = ("tangents", "targets", "outgoing", "incoming")
    tables = [[getattr(model, name) for name in names if getattr(model, name) is not None] for model in models]
    stairs = [[m.readout.thresholds, m.readout.log_slopes] if m.readout else [] for m in models]
    pairs = zip(tables[0] + stairs[0], tables[1] + stairs[1], strict=True)
    return models[0].scale == models[1].scale and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.float32, torch.float64], ids=str)
@settings(max_examples=3)
@given(seed=st.integers(0, 9999))
def test_held_out_pairs_have_no_influence(kind: torch.dtype, seed: int):
    graph = SMALL["karate club"]
    hops = hop_counts(graph).to(kind)
    away = torch.rand(34, 34, generator=generator(seed)) < 0.2
    changed = hops.clone()
    changed[away] = torch.randint(-1, 100, (int(away.sum()),), generator=generator(seed + 1)).to(kind)

    def held(sources: Tensor, targets: Tensor) -> Tensor:
        return away[sources[:, None], targets]

    options = {"dim": 2, "steps": 4, "seed": seed}
    models = [
        fit(graph, objective=HopRegression(hops=table, held=held, block=20), **options) for table in (hops, changed)
    ]
    assert same(*models)
    assert not same(models[0], fit(graph, objective=HopRegression(hops=changed, block=20), **options))


@pytest.mark.parametrize("absent", [-1.0, -7.0, math.inf, math.nan, 0.0])
def test_unreachable_pairs_and_the_diagonal_have_no_influence(absent: float):
    graph = SMALL["two cycles"]
    hops = hop_counts(graph).double()
    changed = hops.masked_fill(hops < 0, absent)
    changed.fill_diagonal_(absent)
    models = [fit(graph, dim=2, steps=30, objective=HopRegression(hops=table)) for table in (hops, changed)]
    assert same(*models)


def test_the_default_table_is_that_of_hop_counts():
    graph = SMALL["karate club"]
    assert same(fit(graph, dim=2, steps=5), fit(graph, dim=2, steps=5, objective=HopRegression(hops=hop_counts(graph))))


# What is fitted


@pytest.mark.parametrize("name", SMALL)
def test_the_form_follows_the_graph(name: str):
    graph = SMALL[name]
    model = fit(graph, dim=2, steps=5)
    assert (model.targets is not None) == graph.directed
    assert model.outgoing is not None
    assert model.incoming is not None
    longest = int(hop_counts(graph).max())
    steps = 0 if model.readout is None else len(model.readout.thresholds)
    assert steps == (max(1, longest - 1) if longest <= 16 else 0)
    bare = fit(graph, dim=2, steps=5, two_points=not graph.directed, scalars=False, readout=0, scale=2.5)
    assert (bare.targets is None) == graph.directed
    assert (bare.outgoing, bare.incoming, bare.readout) == (None, None, None)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_a_weighted_acyclic_graph_is_learned(geometry):
    probabilities = {("rain", "wet"): 0.9, ("wet", "slip"): 0.5, ("rain", "slip"): 0.1, ("sprinkler", "wet"): 0.7}
    graph = HopGraph.from_edges(list(probabilities), lengths=[-math.log(p) for p in probabilities.values()])
    objective = HopRegression(relative=1.0)
    model = fit(graph, dim=3, steps=250, geometry=geometry, readout=0, objective=objective, learning_rate=0.05)
    assert math.exp(-model.distance("rain", "slip")) == pytest.approx(0.45, abs=0.02)  # by way of wet
    for (cause, effect), p in probabilities.items():
        if (cause, effect) != ("rain", "slip"):
            assert math.exp(-model.distance(cause, effect)) == pytest.approx(p, abs=0.02)
    assert math.exp(-model.distance("sprinkler", "slip")) == pytest.approx(0.35, abs=0.02)


@pytest.mark.parametrize("readout", [0, 3])
def test_hop_counts_are_learned(readout: int):
    model = fit(SMALL["karate club"], dim=4, steps=150, readout=readout, learning_rate=0.05)
    hops = hop_counts(SMALL["karate club"]).double()
    apart = hops > 0
    constant = float((hops[apart] - hops[apart].mean()).abs().mean())
    assert float((model.distances() - hops)[apart].abs().mean()) < 0.5 * constant


# The staircase


def test_the_staircase_has_the_gradients_of_autograd():
    x = torch.linspace(-3, 9, 24, dtype=torch.float64).reshape(4, 6).requires_grad_()
    edges = torch.tensor([1.2, 2.5, 4.0], dtype=torch.float64, requires_grad=True)
    slopes = torch.tensor([0.2, 1.0, -0.5], dtype=torch.float64, requires_grad=True)
    climb = lambda x, edges, slopes: Staircase(edges, slopes)(x)  # noqa: E731
    assert torch.autograd.gradcheck(climb, (x, edges, slopes))
    plain = 1 + torch.sigmoid(slopes.exp() * (x[..., None] - edges)).sum(-1)
    torch.testing.assert_close(climb(x, edges, slopes), plain)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30), st.integers(1, 8))
def test_the_staircase_keeps_the_order_and_its_range(values: list[float], steps: int):
    x = torch.tensor(sorted(values), dtype=torch.float64)
    y = Staircase.even(steps, dtype=torch.float64)(x)
    assert bool((y.diff() >= -1e-12).all())
    assert bool(((y >= 1) & (y <= 1 + steps)).all())


# What is refused

SQUARE = torch.ones(7, 7)
BAD = {
    "no nodes": ({}, HopGraph.from_edges([]), "graph"),
    "one node": ({}, HopGraph.from_edges([], names=["a"]), "graph"),
    "no links": ({}, HopGraph.from_edges([], names=["a", "b"]), "graph"),
    "all held out": ({"held": lambda s, t: torch.ones(len(s), len(t), dtype=torch.bool)}, tree(2), "graph"),
    "too small a table": ({"hops": torch.ones(6, 6)}, tree(), "hops"),
    "a row as table": ({"hops": torch.ones(15)}, tree(), "hops"),
    "a list as table": ({"hops": [[0, 1], [1, 0]]}, tree(), "hops"),
    "held no function": ({"held": SQUARE.bool()}, tree(), "held"),
    "held of another shape": ({"held": lambda s, t: torch.zeros(len(t), dtype=torch.bool)}, tree(), "held"),
    "held of another kind": ({"held": lambda s, t: torch.zeros(len(s), len(t))}, tree(), "held"),
    "a table of nothing": ({"hops": -torch.ones(15, 15)}, tree(), "graph"),
    **{f"block {value!r}": ({"block": value}, tree(), "block") for value in (0, -5, 2.0, True, None, "9")},
    **{
        f"relative {value!r}": ({"relative": value}, tree(), "relative")
        for value in (-0.1, 1.5, math.nan, "1", None, True)
    },
}


@pytest.mark.parametrize(("given", "graph", "name"), BAD.values(), ids=BAD)
def test_bad_numbers_and_tables_are_refused(given: dict, graph: HopGraph, name: str, unchecked):
    with pytest.raises(ValueError, match=f"^{name}: expected .+ got"):
        HopRegression(**given).prepare(graph)


# Lengths of any unit, and walks of any length


@pytest.mark.parametrize(
    ("lengths", "least"), [((0.01, 0.1), 0.5), ((0.5, 1.5), 0.5), ((50.0, 500.0), 0.5), ((1e6, 2e6), 0.5)], ids=str
)
def test_distances_of_any_unit_are_learned(lengths: tuple[float, float], least: float):
    plain = random_graph(60, 240)
    drawn = torch.empty(len(plain.edges), dtype=torch.float64).uniform_(*lengths, generator=generator())
    graph = HopGraph.from_edges(plain.edges, names=plain.names, lengths=drawn)
    model = fit(graph, dim=3, steps=300)
    assert model.readout is None
    assert hop_scores(model, hop_counts(graph)).r2 > least


def test_another_unit_gives_the_same_model_in_that_unit():
    plain = random_graph(40, 160)
    drawn = torch.empty(len(plain.edges), dtype=torch.float64).uniform_(0.5, 1.5, generator=generator())
    models = [
        fit(HopGraph.from_edges(plain.edges, names=plain.names, lengths=unit * drawn), dim=2, steps=40)
        for unit in (1, 1024)
    ]
    torch.testing.assert_close(1024 * models[0].distances(), models[1].distances(), rtol=1e-3, atol=1)


def test_long_walks_are_not_cut_off():
    ring = HopGraph.from_edges([(i, (i + 1) % 80) for i in range(80)], directed=False)
    model = fit(ring, dim=3, steps=1500)
    assert model.readout is None
    assert hop_scores(model, hop_counts(ring)).r2 > 0.8
    assert float(model.distances().max()) > 30


def test_whole_counts_get_a_step_for_each():
    chain = HopGraph.from_edges([(i, i + 1) for i in range(13)])
    model = fit(chain, dim=2, steps=5)
    assert model.readout is not None
    assert len(model.readout.thresholds) == 12
