"""The loss of statements: its value by hand, its gradient by autograd, what it does to training, what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, HopRegression, fit, hop_counts
from hyperspectral_geo.hyperbolic.feedback import (
    AboutHops,
    Closer,
    Constraint,
    ConstraintLoss,
    Farther,
    Group,
    Link,
    Nearer,
    Pin,
    reweighted,
)
from hyperspectral_geo.hyperbolic.feedback.terms import MOST_GROUP_PAIRS, graph_reference, terms_of
from hyperspectral_geo.hyperbolic.parameters import HopParameters

NAMES = [f"town {i}" for i in range(12)]
RING = HopGraph.from_edges([(NAMES[i], NAMES[(i + 1) % 12]) for i in range(12)])
T = NAMES.__getitem__


def parameters(graph: HopGraph, **options) -> HopParameters:
    generator = torch.Generator().manual_seed(0)
    form = {"spread": 0.5, "scale": 1.0, "two_points": True, "scalars": True, "center": 4.0, "steps": 9} | options
    found = HopParameters.initial(len(graph), 3, "hyperbolic", generator=generator, dtype=torch.float64, **form)
    for table in found.tables.values():
        table += 0.1 * torch.randn(table.shape, generator=generator, dtype=torch.float64)
    if "forms" in found.shared:
        found.shared["forms"] += 0.01 * torch.randn(found.shared["forms"].shape, generator=generator).double()
    return found


SAID: list[Constraint] = [
    Closer(T(0), T(5), strength=2),
    Farther(T(1), T(2), both=True),
    AboutHops(T(3), T(9), 2.5, strength=0.5),
    Nearer(T(4), T(8), T(6)),
    Nearer(T(4), T(8), T(6), toward=True, strength=3),
    Group((T(0), T(7), T(10)), 2),
    Pin(T(11), point=(0.1, 0.2, 0.3)),
]


def by_hand(model: HopEmbedding, margin: float, temperature: float) -> float:
    """The mean over all pairs and triplets, written out."""
    d, hops = model.distance, hop_counts(RING)
    r = lambda a, b: int(hops[a, b])  # noqa: E731
    mean = (2 + 1 + 0.5 + 1 + 3 + 1) / 6
    order = lambda near, far: math.log1p(math.exp((near - far + margin) / temperature))  # noqa: E731
    terms = [
        2 * max(0, d(T(0), T(5)) - (r(0, 5) - 1)) ** 2,
        max(0, r(1, 2) + 1 - d(T(1), T(2))) ** 2,
        max(0, r(2, 1) + 1 - d(T(2), T(1))) ** 2,
        0.5 * (d(T(3), T(9)) / 2.5 - 1) ** 2,
        order(d(T(4), T(8)), d(T(4), T(6))),
        3 * order(d(T(8), T(4)), d(T(6), T(4))),
        *(max(0, d(T(a), T(b)) - 2) ** 2 for a in (0, 7, 10) for b in (0, 7, 10) if a != b),
    ]
    return sum(terms) / len(terms) / mean


@pytest.mark.parametrize("forms", [False, True])
def test_the_value_is_the_mean_of_all_statements(forms: bool):
    start = parameters(RING, forms=forms)
    prepared = ConstraintLoss(SAID, margin=0.3, temperature=0.7).prepare(RING)
    loss, _ = prepared.step(start, torch.Generator())
    assert loss == pytest.approx(by_hand(start.embedding(RING.names), 0.3, 0.7), rel=1e-9)


def test_the_gradient_is_that_of_differences():
    start = parameters(RING, forms=True)
    prepared = ConstraintLoss(SAID).prepare(RING)
    value = lambda: prepared.step(start, torch.Generator())[0]  # noqa: E731
    _, gradients = prepared.step(start, torch.Generator())
    assert set(gradients) == set(start.all())
    generator = torch.Generator().manual_seed(1)
    for name, tensor in start.all().items():
        rows, gradient = gradients[name]
        full = gradient if rows is None else torch.zeros_like(tensor).index_add_(0, rows, gradient)
        way = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        before, step = tensor.clone(), 1e-6
        tensor.copy_(before + step * way)
        up = value()
        tensor.copy_(before - step * way)
        down = value()
        tensor.copy_(before)
        assert (up - down) / (2 * step) == pytest.approx(float((full * way).sum()), rel=1e-5, abs=1e-9)


def test_minibatches_are_unbiased_and_come_from_the_generator_alone():
    said: list[Constraint] = [AboutHops(T(i), T(j), 1) for i in range(12) for j in range(12) if i != j]
    said += [Nearer(T(0), T(i), T(j)) for i in range(1, 12) for j in range(i + 1, 12)]
    start = parameters(RING)
    whole, _ = ConstraintLoss(said, conflicts="weigh").prepare(RING).step(start, torch.Generator())
    some = ConstraintLoss(said, batch=20, conflicts="weigh").prepare(RING)
    drawn = [some.step(start, torch.Generator().manual_seed(seed))[0] for seed in range(300)]
    assert sum(drawn) / len(drawn) == pytest.approx(whole, rel=0.03)
    assert some.step(start, torch.Generator().manual_seed(7))[0] == drawn[7]
    assert len(set(drawn)) > 250


def test_large_groups_are_drawn_from():
    numbers = {f"{i}": i for i in range(300)}
    terms = terms_of([Group(tuple(numbers), 2)], numbers.__getitem__, lambda a, b: a.double())
    assert len(terms.pairs) == MOST_GROUP_PAIRS
    assert bool((terms.pairs.sources != terms.pairs.targets).all())
    assert int(terms.pairs.targets.max()) < 300


def test_triplets_are_a_table():
    names = [f"{i}" for i in range(1000)]
    index = {name: i for i, name in enumerate(names)}
    one = [Nearer(names[i], names[(i + 1) % 1000], names[(i + 2) % 1000]) for i in range(1000)]
    terms = terms_of(one * 5, index.__getitem__, lambda a, b: a.double())
    assert len(terms.triplets) == 5_000
    assert terms.triplets.near[1].tolist() == [1, 2]


@pytest.mark.parametrize("lengths", [None, 0.5])
def test_references_are_counted_from_the_sources(lengths: float | None):
    edges = [(i, i + 1) for i in range(99)]
    given = None if lengths is None else [lengths] * 99
    graph = HopGraph.from_edges(edges, names=[str(i) for i in range(120)], lengths=given)
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(120, (500, 2), generator=generator)
    found = graph_reference(graph)(pairs[:, 0], pairs[:, 1])
    hops = hop_counts(graph, dtype=torch.float64).double()
    there = hops[pairs[:, 0], pairs[:, 1]]
    joined = there.isfinite() & (there >= 0)
    torch.testing.assert_close(found[joined], there[joined])
    sources = hops[pairs[:, 0].unique()]
    farthest = float(sources[sources.isfinite()].max())
    assert set(found[~joined].tolist()) == {farthest + (lengths or 1.0)}


def trained(said: list[Constraint], *, trust: float = 3.0, steps: int = 120, **options) -> HopEmbedding:
    objective = [(1.0, HopRegression()), (trust, ConstraintLoss(said, conflicts="weigh"))]
    return fit(RING, dim=3, steps=steps, objective=objective, **options)


def test_training_meets_what_is_said():
    plain = fit(RING, dim=3, steps=300)
    model = trained([Nearer(T(3), T(9), T(6)), Group((T(1), T(11)), 2)], steps=300)
    assert model.distance(T(3), T(9)) < model.distance(T(3), T(6))
    assert plain.distance(T(3), T(9)) > plain.distance(T(3), T(6)) + 1
    assert max(model.distance(T(1), T(11)), model.distance(T(11), T(1))) < 3
    closer = trained([Closer(T(0), T(7)), Closer(T(0), T(8))], trust=10.0, steps=300)
    assert closer.distance(T(0), T(7)) < plain.distance(T(0), T(7)) - 0.5


def test_strength_decides_between_contradictory_statements():
    near, far = (
        trained([AboutHops(T(0), T(6), 2, strength=a), AboutHops(T(0), T(6), 9, strength=10 - a)], steps=300)
        for a in (9.5, 0.5)
    )
    assert near.distance(T(0), T(6)) < far.distance(T(0), T(6)) - 2


def test_pinned_concepts_do_not_move():
    start = fit(RING, dim=3, steps=50)
    at = (0.25, -0.5, 0.125)
    said: list[Constraint] = [Pin(T(2)), Pin(T(4), point=at), Pin(T(5), point=(*at, 1.0, 2.0, 3.0)), Closer(T(2), T(8))]
    model = trained(said, start=start)
    for name in ("tangents", "targets", "outgoing", "incoming"):
        assert torch.equal(getattr(model, name)[2], getattr(start, name)[2])
        assert not torch.equal(getattr(model, name)[8], getattr(start, name)[8])
    assert model.tangents[4].tolist() == model.tangents[5].tolist() == list(at)
    assert model.targets is not None
    assert start.targets is not None
    assert model.targets[5].tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(model.targets[4], start.targets[4])


def test_a_resumed_run_is_the_same(tmp_path):
    whole = trained([Closer(T(0), T(7)), Pin(T(3), point=(0, 0, 1))])
    again = trained([Closer(T(0), T(7)), Pin(T(3), point=(0, 0, 1))], checkpoint=tmp_path / "kept", every=50)
    assert torch.equal(whole.tangents, again.tangents)
    taken = trained([Closer(T(0), T(7)), Pin(T(3), point=(0, 0, 1))], checkpoint=tmp_path / "kept", resume=True)
    assert torch.equal(whole.tangents, taken.tangents)
    with pytest.raises(ValueError, match="objective 2's constraints"):
        trained([Closer(T(1), T(7))], checkpoint=tmp_path / "kept", resume=True)


REFUSED = {
    "none": ([], {}, "constraints: expected at least one statement"),
    "no statements": (["closer"], {}, "constraints: expected at least one statement"),
    "unknown": ([Closer(T(1), "tawn 2")], {}, "'tawn 2' is not one of the 12 concepts; similar: 'town"),
    "batch": (SAID, {"batch": 0}, "batch: expected a whole number >= 1"),
    "margin": (SAID, {"margin": math.nan}, "margin: expected a finite number of hops >= 0"),
    "temperature": (SAID, {"temperature": 0}, "temperature: expected a finite number of hops >= 1e-06"),
    "conflicts": (SAID, {"conflicts": "no"}, "conflicts: expected 'refuse' or 'weigh'"),
    "contradiction": ([Closer(T(0), T(1)), Farther(T(0), T(1))], {}, "got 1 contradictions: closer and"),
    "hops by the graph": ([Closer(T(0), T(4)), AboutHops(T(0), T(4), 5)], {}, "that are not closer than the 4 there"),
    "a link that is not there": ([Link(T(0), T(4), 1)], {}, "got no such link; train on reweighted"),
    "a length that it has not": ([Link(T(0), T(1), 0.5)], {}, "got the length 1; train on reweighted"),
    "a link that is still there": ([Link(T(0), T(1), None)], {}, "got the length 1; train on reweighted"),
}


@pytest.mark.parametrize(("said", "options", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_on_is_refused(said: list, options: dict, told: str, unchecked):
    with pytest.raises(ValueError, match=told):
        ConstraintLoss(said, **options).prepare(RING)


def test_pins_need_a_place():
    with pytest.raises(ValueError, match="start: expected one, whose concepts are pinned, got none"):
        trained([Pin(T(0)), Closer(T(0), T(7))])
    with pytest.raises(ValueError, match="point: expected 3 or 6 coordinates in a model of 3 dimensions, got 2"):
        trained([Pin(T(0), point=(1, 2)), Closer(T(0), T(7))])


def test_links_go_into_the_graph():
    said = [Link(T(0), T(6), 1), Closer(T(0), T(9))]
    graph = reweighted(RING, said)
    prepared = ConstraintLoss(said).prepare(graph)
    assert prepared.terms.pairs.bounds.tolist() == [3.0]  # one of 4 hops over the new link, less one
    assert replace(graph).lengths is None
