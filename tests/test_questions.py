"""Questions to people: how unsure a model is by hand, new pairs apart from each other, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hop_cases import random_graph

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, fit, hop_counts
from hyperspectral_geo.hyperbolic.feedback import AboutHops, apply_feedback, hop_spread, questions

GRAPH = random_graph(40, 120)
KINDS = {
    "forms": {"geometry": "bilinear", "forms": True},
    "hyperbolic": {},
    "no read-out": {"readout": 0},
}


@pytest.fixture(scope="module")
def models() -> dict[str, HopEmbedding]:
    return {name: fit(GRAPH, dim=4, steps=120, **options) for name, options in KINDS.items()}


def test_the_spread_is_that_of_the_hops(models: dict[str, HopEmbedding]):
    model = models["forms"]
    sources, targets = torch.arange(10), torch.arange(10, 20)
    assert model.readout is not None
    assert model.forms is not None
    for spread, a, b in zip(hop_spread(model, sources, targets).tolist(), sources, targets, strict=True):
        left, right = model.leaving(a[None]), model.reached(b[None])
        score = -model.scale * float(left.points[0] @ right.points[0]) + float(left.scalars + right.scalars)
        assert left.features is not None
        assert right.features is not None
        beyond, least = [1.0], 1.0
        for edge, slope, form in zip(model.readout.thresholds, model.readout.log_slopes, model.forms, strict=True):
            own = score + float(left.features[0] @ form.double() @ right.features[0])
            least = min(least, 1 / (1 + 2.718281828459045 ** -(float(slope.exp()) * (own - float(edge)))))
            beyond.append(least)
        chances = [x - y for x, y in zip(beyond, [*beyond[1:], 0.0], strict=True)]
        mean = sum(h * p for h, p in enumerate(chances, 1))
        assert spread == pytest.approx(sum((h - mean) ** 2 * p for h, p in enumerate(chances, 1)) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("by", ["remote", "spread"])
def test_questions_are_new_apart_and_the_same_again(by, models: dict[str, HopEmbedding]):
    model = models["forms"]
    asked = questions(model, 8, by=by, seed=3)
    assert asked == questions(model, 8, by=by, seed=3)
    assert len({name for one in asked for name in (one.source, one.target)}) == 16
    pairs = [(one.source, one.target) for one in asked]
    more = questions(model, 8, by=by, seed=3, without=pairs)
    assert not {(one.source, one.target) for one in more} & set(pairs)
    assert len(questions(model, 5000, by=by)) == 40 * 39
    few = torch.tensor([[0, 1], [1, 2], [0, 1], [3, 3]])
    assert {(one.source, one.target) for one in questions(model, 9, by=by, candidates=few)} == {("0", "1"), ("1", "2")}
    if by == "spread":
        every = torch.cartesian_prod(torch.arange(40), torch.arange(40))
        assert asked[0].spread == pytest.approx(float(hop_spread(model, *every[every[:, 0] != every[:, 1]].T).max()))
    else:
        far = model.distances().mean(0)
        assert far[model.index(asked[0].target)] >= far.sort().values[-3]


def test_questions_that_cannot_be_asked_are_refused(models: dict[str, HopEmbedding], unchecked):
    model = models["hyperbolic"]
    for call, told in (
        (lambda: questions(models["no read-out"]), "model: expected a read-out"),
        (lambda: questions(model, 0), "count: expected a whole number >= 1"),
        (lambda: questions(model, by="chance"), "by: expected 'remote' or 'spread'"),
        (
            lambda: questions(model, candidates=torch.tensor([[0, 40]])),
            "candidates: expected numbers of concepts from 0",
        ),
        (lambda: questions(model, without=[("0", "x y")]), "name: 'x y' is not one of the 40 concepts"),
    ):
        with pytest.raises(ValueError, match=told):
            call()


def test_true_answers_halve_the_error_of_their_pairs():
    kept = torch.rand(len(GRAPH.edges), generator=torch.Generator().manual_seed(0)) >= 0.2
    part = HopGraph.from_edges(GRAPH.edges[kept], names=GRAPH.names)
    model, truth = fit(part, dim=4, steps=150), hop_counts(GRAPH)
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j and truth[i, j] > 0][::30]
    said = [AboutHops(str(i), str(j), int(truth[i, j])) for i, j in pairs]
    after = apply_feedback(model, said, hold=0.1, most_drift=9).model
    sources, targets = torch.tensor(pairs).T
    hops = truth[sources, targets]
    error = [float((m.pair_distances(sources, targets) / hops - 1).abs().mean()) for m in (model, after)]
    assert error[1] < 0.5 * error[0]
