"""Answers applied to a trained model: met, held to what they name, the same bytes every time, taken back exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hop_cases import random_graph

from hyperspectral_geo.hyperbolic import HopEmbedding, fit
from hyperspectral_geo.hyperbolic.feedback import (
    AboutHops,
    Closer,
    Constraint,
    Farther,
    FeedbackCycle,
    Group,
    Link,
    Nearer,
    Pin,
    apply_feedback,
)
from hyperspectral_geo.hyperbolic.feedback import cycle as cycle_file
from hyperspectral_geo.hyperbolic.geometry import GEOMETRIES

GRAPH = random_graph(40, 120)
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


def answers(model: HopEmbedding) -> list[Constraint]:
    """A hop more or less than the model says, and an order the other way round."""
    near, far = sorted(("5", "6"), key=lambda name: model.distance("4", name))
    return [
        AboutHops("0", "1", max(1.0, model.distance("0", "1") - 1)),
        Farther("2", "3", strength=2),
        Nearer("4", far, near),
        Closer("7", "8"),
        Pin("9"),
        AboutHops("9", "10", model.distance("9", "10") + 1),
    ]


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
    assert drift.mean == pytest.approx(float(off[untouched].mean()), rel=0.02)
    assert drift.largest == pytest.approx(float(off[untouched].max()), rel=1e-4)
    for one, (a, b) in zip(result.changes.answers[:2], pairs, strict=False):
        assert one.before == pytest.approx((float(before[a, b]),), rel=1e-5)
        assert one.after == pytest.approx((float(after[a, b]),), rel=1e-5)
    assert drift.mean < drift.named < 0.2
    with pytest.raises(ValueError, match="most_drift: expected .* by at most 0.01% in the mean, got"):
        apply_feedback(model, said, most_drift=1e-4)


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


# Files


@pytest.fixture
def cycle(tmp_path: Path, models: dict[str, HopEmbedding]) -> FeedbackCycle:
    return FeedbackCycle.of(models["forms"].save(tmp_path / "m.safetensors"))


def test_undo_restores_every_state_byte_for_byte(cycle: FeedbackCycle, models: dict[str, HopEmbedding]):
    states = [cycle.model.read_bytes()]
    for number, one in enumerate(answers(models["forms"])[:3], 1):
        assert cycle.add([one]) == (number,)
        cycle.apply(most_drift=1)
        states.append(cycle.model.read_bytes())
    assert len(set(states)) == 4
    made = HopEmbedding.load(cycle.model).adjusted
    assert made is not None
    assert made.count == 3
    for left in (2, 1, 0):
        assert cycle.undo_last_apply() == (left + 1,)
        assert cycle.model.read_bytes() == states[left]
    with pytest.raises(ValueError, match="expected an apply to take back, got none"):
        cycle.undo_last_apply()
    with pytest.raises(ValueError, match="expected answers to take back, got none"):
        cycle.undo()
    assert cycle.changes() is None


def test_the_same_journal_on_the_same_base_gives_the_same_bytes(cycle: FeedbackCycle, tmp_path: Path, models):
    said = answers(models["forms"])
    base = cycle.model.read_bytes()
    cycle.add(said[:2])
    cycle.apply(most_drift=1)
    cycle.add(said[2:])
    cycle.apply(most_drift=1)
    (tmp_path / "other").mkdir()
    other = FeedbackCycle.of(tmp_path / "other" / "n.safetensors")
    other.model.write_bytes(base)
    other.journal.write_bytes(cycle.journal.read_bytes())
    other.apply(most_drift=1)
    assert other.model.read_bytes() == cycle.model.read_bytes()
    assert other.base.read_bytes() == base


def test_waiting_answers_stay_out_when_others_are_taken_back(cycle: FeedbackCycle, models):
    said = answers(models["forms"])
    cycle.add(said[:1])
    cycle.apply(most_drift=1)
    one = cycle.model.read_bytes()
    cycle.add(said[1:2])
    assert cycle.undo() == (2,)
    assert cycle.model.read_bytes() == one
    cycle.add(said[2:3])
    cycle.undo([1])
    assert cycle.read().active == (3,)
    assert cycle.read().applied == ()
    assert HopEmbedding.load(cycle.model).adjusted is None


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_kill_between_writes_leaves_whole_files_that_go_on(
    cycle: FeedbackCycle, models, moment: int, monkeypatch: pytest.MonkeyPatch
):
    cycle.add(answers(models["forms"])[:2])
    base, left = cycle.model.read_bytes(), [moment]
    write = cycle_file.write_atomically

    def killed(path: Path, payload: bytes) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(path, payload)

    with monkeypatch.context() as patch:
        patch.setattr(cycle_file, "write_atomically", killed)
        patch.setattr("hyperspectral_geo.hyperbolic.feedback.journal.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            cycle.apply(most_drift=1)
    assert cycle.model.read_bytes() == base
    assert not list(cycle.model.parent.glob(".*.tmp"))
    cycle.apply(most_drift=1)
    assert cycle.model.read_bytes() != base
    cycle.undo([1, 2])
    assert cycle.model.read_bytes() == base


def _others_journal(cycle: FeedbackCycle) -> None:
    text = cycle.journal.read_text()
    cycle.journal.write_text(text.replace(cycle.read().model, "0" * 64))


def _others_model(cycle: FeedbackCycle) -> None:
    fit(GRAPH, dim=2, steps=2).save(cycle.model)


def _lost_base(cycle: FeedbackCycle) -> None:
    cycle.base.unlink()


def _others_base(cycle: FeedbackCycle) -> None:
    fit(GRAPH, dim=2, steps=2).save(cycle.base)


def _damaged(cycle: FeedbackCycle) -> None:
    cycle.journal.write_bytes(cycle.journal.read_bytes()[:-20])


SPOILT: dict[str, tuple[Callable[[FeedbackCycle], None], str]] = {
    "a journal of another model": (_others_journal, "expected the journal of m.safetensors, .* got that of another"),
    "another model": (_others_model, "expected the journal of m.safetensors, .* got that of another model"),
    "base lost": (_lost_base, "m.base.safetensors: expected the model before any answer, .* got none"),
    "another base": (_others_base, "m.base.safetensors: expected the model before .* got another file"),
    "a cut journal": (_damaged, "m.journal.jsonl: line 4: the line is not valid JSON"),
}


@pytest.mark.parametrize(("spoil", "told"), SPOILT.values(), ids=SPOILT)
def test_what_does_not_belong_together_is_refused_and_stays(spoil, told: str, cycle: FeedbackCycle, models):
    cycle.add(answers(models["forms"])[:2])
    cycle.apply(most_drift=1)
    spoil(cycle)
    before = {path: path.read_bytes() for path in (cycle.model, cycle.journal)}
    for step in (cycle.apply, cycle.undo):
        with pytest.raises(ValueError, match=told):
            step()
    assert {path: path.read_bytes() for path in before} == before


def test_nothing_is_written_when_an_apply_is_refused(cycle: FeedbackCycle, models):
    cycle.add(answers(models["forms"]))
    before = {path: path.read_bytes() for path in cycle.model.parent.iterdir()}
    with pytest.raises(ValueError, match="most_drift"):
        cycle.apply(most_drift=0)
    assert {path: path.read_bytes() for path in cycle.model.parent.iterdir()} == before
