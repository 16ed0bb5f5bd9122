"""Answers applied to a trained model: met, held to what they name, the same every time."""

from __future__ import annotations

import pytest
import torch
from feedback_cases import GRAPH, answers

from hyperspectral_geo.hyperbolic import HopEmbedding, fit
from hyperspectral_geo.hyperbolic.feedback import (
    AboutHops,
    Closer,
    Farther,
    Group,
    Link,
    Pin,
    apply_feedback,
)
from hyperspectral_geo.hyperbolic.geometry import GEOMETRIES

KINDS = {
    "hyperbolic": {},
    "forms": {"geometry": "bilinear", "forms": True},
    "one point": {"two_points": False, "geometry": "euclidean"},
    "no read-out": {"readout": 0},
    "float64": {"dtype": torch.float64, "geometry": "product"},
}


@pytest.fixture(scope="module")
def models() -> dict[str, HopEmbedding]:
    return {name: fit(GRAPH, dim=4, steps=120, **options) for name, options in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_named_moves_and_answers_are_met(kind: str, models: dict[str, HopEmbedding]):
    model = models[kind]
    result = apply_feedback(model, answers(model), hold=0.3, most_drift=1.0)
    new = result.model
    assert sum(one.met for one in result.changes.answers) >= 5
    named = {int(name) for one in answers(model) for name in one.concepts}
    rest = torch.tensor([i for i in range(40) if i not in named])
    for part in ("tangents", "targets", "outgoing", "incoming"):
        old, now = getattr(model, part), getattr(new, part)
        if old is not None:
            assert now.dtype == old.dtype
            assert torch.equal(now[rest], old[rest])
            assert torch.equal(now[9], old[9])
    assert new.readout is model.readout
    assert new.forms is model.forms
    assert (new.scale, new.names, new.geometry) == (model.scale, model.names, model.geometry)
    pairs = torch.cartesian_prod(rest, rest).T
    assert torch.equal(model.pair_distances(*pairs), new.pair_distances(*pairs))


def test_the_drift_is_that_of_all_pairs(models: dict[str, HopEmbedding]):
    model = models["forms"]
    said = answers(model)
    result = apply_feedback(model, said, most_drift=1.0)
    before, after = model.distances().double(), result.model.distances().double()
    off = (after - before).abs() / before.abs().clamp_min(0.1)
    untouched = ~torch.eye(40, dtype=torch.bool)
    pairs = [(0, 1), (2, 3), (4, 5), (4, 6), (7, 8), (9, 10)]
    for a, b in pairs:
        untouched[a, b] = False
    drift = result.changes.drift
    assert drift.mean == pytest.approx(float(off[untouched].mean()), rel=1e-4)
    assert drift.largest == pytest.approx(float(off[untouched].max()), rel=1e-4)
    for one, (a, b) in zip(result.changes.answers[:2], pairs, strict=False):
        assert one.before == pytest.approx((float(before[a, b]),), rel=1e-5)
        assert one.after == pytest.approx((float(after[a, b]),), rel=1e-5)
    assert drift.mean < drift.named < 0.2
    with pytest.raises(ValueError, match="most_drift: expected .* by at most 0.01% in the mean, got"):
        apply_feedback(model, said, most_drift=1e-4)


def test_a_model_without_directions_knows_none_in_answers():
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(5))
    model = HopEmbedding(tuple("abcdefghijkl"), points, "euclidean")
    with pytest.raises(ValueError, match="closer and farther on one pair"):
        apply_feedback(model, [Closer("a", "b"), Farther("b", "a")], most_drift=9)
    result = apply_feedback(model, [AboutHops("a", "b", 9 * model.distance("a", "b"))], most_drift=9)
    before, after = model.distances().double(), result.model.distances().double()
    off = ((after - before).abs() / before.clamp_min(0.1)).fill_diagonal_(0)
    assert float(off[0, 1]) == pytest.approx(float(off.max()))  # the answer, in either direction, is no drift
    off[0, 1] = off[1, 0] = 0
    assert result.changes.drift.largest == pytest.approx(float(off.max()), rel=1e-4)
    assert result.changes.drift.mean == pytest.approx(float(off.sum()) / (12 * 11 - 2), rel=1e-4)


def test_holding_holds(models: dict[str, HopEmbedding]):
    model = models["forms"]
    drifts = [apply_feedback(model, answers(model), hold=h, most_drift=9).changes.drift.named for h in (0, 1, 30)]
    assert drifts[0] > drifts[1] > drifts[2]


def test_results_do_not_depend_on_threads_or_the_random_state(models: dict[str, HopEmbedding]):
    found = []
    for seed, threads in ((1, 1), (2, 2)):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        found.append(apply_feedback(models["forms"], answers(models["forms"]), most_drift=1).model)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert torch.equal(found[0].tangents, found[1].tangents)
    assert torch.equal(found[0].incoming, found[1].incoming)


def test_a_group_comes_together_and_a_pin_goes_to_its_point(models: dict[str, HopEmbedding]):
    model = models["hyperbolic"]
    ends = ("11", "12", "13")
    at = tuple(float(x) for x in range(4))
    result = apply_feedback(model, [Group(ends, 2), Pin("20", point=at)], hold=0.01, most_drift=9)
    assert result.model.tangents[20].tolist() == list(at)
    far = [max(m.distance(a, b) for a in ends for b in ends if a != b) for m in (model, result.model)]
    assert far[1] < min(2.6, far[0])
    assert [one.met for one in result.changes.answers] == [True, True]
    assert result.changes.answers[0].after == pytest.approx((far[1],), rel=1e-5)


REFUSED = {
    "none": ([], {}, "answers: expected at least one statement"),
    "texts": (["closer"], {}, "answers: expected at least one statement"),
    "unknown": ([Closer("0", "fourty")], {}, "'fourty' is not one of the 40 concepts; similar: "),
    "a link": ([Link("0", "1", 2)], {}, "expected what can be said of distances, got link"),
    "contradiction": ([Closer("0", "1"), Farther("0", "1")], {}, "closer and farther on one pair"),
    "hold": ([Closer("0", "1")], {"hold": -1}, "hold: expected a finite number >= 0"),
    "hold NaN": ([Closer("0", "1")], {"hold": float("nan")}, "hold: expected a finite number >= 0"),
    "most_drift": ([Closer("0", "1")], {"most_drift": "1 %"}, "most_drift: expected a number >= 0"),
    "steps": ([Closer("0", "1")], {"steps": 0}, "steps: expected a whole number >= 1"),
    "seed": ([Closer("0", "1")], {"seed": -1}, "seed: expected a whole number from 0"),
    "far point": ([Pin("0", point=(30.0, 1.0, 0.0, 0.0))], {}, "point: expected a tangent of length at most 30 in hyp"),
    "point": ([Pin("0", point=(1.0,))], {}, "point: expected 4 or 8 coordinates in a model of 4 dimensions, got 1"),
}


@pytest.mark.parametrize(("said", "options", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_applied_is_refused(said, options, told: str, models: dict[str, HopEmbedding], unchecked):
    with pytest.raises(ValueError, match=told):
        apply_feedback(models["hyperbolic"], said, **options)


def test_every_geometry_can_be_told():
    for geometry in GEOMETRIES:
        model = HopEmbedding(tuple("abcde"), torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), geometry)
        after = apply_feedback(model, [Farther("a", "b")], hold=0, most_drift=9).model
        assert after.distance("a", "b") > model.distance("a", "b") + 0.1
