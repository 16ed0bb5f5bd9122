"""The cycle on files: a model, its base and its journal, applied, taken back byte for byte, stopped and spoilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from feedback_cases import GRAPH, answers

from hyperspectral_geo.hyperbolic import HopEmbedding, fit
from hyperspectral_geo.hyperbolic.feedback import FeedbackCycle
from hyperspectral_geo.hyperbolic.feedback import cycle as cycle_file


@pytest.fixture(scope="module")
def model() -> HopEmbedding:
    return fit(GRAPH, dim=4, steps=120, geometry="bilinear", forms=True)


@pytest.fixture
def cycle(tmp_path: Path, model: HopEmbedding) -> FeedbackCycle:
    return FeedbackCycle.of(model.save(tmp_path / "m.safetensors"))


def test_undo_restores_every_state_byte_for_byte(cycle: FeedbackCycle, model: HopEmbedding):
    states = [cycle.model.read_bytes()]
    for number, one in enumerate(answers(model)[:3], 1):
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


def test_the_same_journal_on_the_same_base_gives_the_same_bytes(cycle: FeedbackCycle, tmp_path: Path, model):
    said = answers(model)
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


def test_waiting_answers_stay_out_when_others_are_taken_back(cycle: FeedbackCycle, model):
    said = answers(model)
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
    cycle: FeedbackCycle, model, moment: int, monkeypatch: pytest.MonkeyPatch
):
    cycle.add(answers(model)[:2])
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
    assert cycle.is_behind() == (moment == 2)  # the copy and the journal were written, the model not
    assert not list(cycle.model.parent.glob(".*.tmp"))
    cycle.apply(most_drift=1)
    assert not cycle.is_behind()
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


def _changed_model(cycle: FeedbackCycle) -> None:
    model = HopEmbedding.load(cycle.model)
    replace(model, tangents=model.tangents * 1.01).save(cycle.model)  # still says which answers it follows


def _others_base(cycle: FeedbackCycle) -> None:
    fit(GRAPH, dim=2, steps=2).save(cycle.base)


def _damaged(cycle: FeedbackCycle) -> None:
    cycle.journal.write_bytes(cycle.journal.read_bytes()[:-20])


SPOILT: dict[str, tuple[Callable[[FeedbackCycle], None], str]] = {
    "a journal of another model": (_others_journal, "expected the journal of m.safetensors, .* got that of another"),
    "another model": (_others_model, "expected the journal of m.safetensors, .* got that of another model"),
    "a changed model": (_changed_model, "m.safetensors: expected a model that its journal m.journal.jsonl tells of"),
    "base lost": (_lost_base, "m.base.safetensors: expected the model before any answer, .* got none"),
    "another base": (_others_base, "m.base.safetensors: expected the model before .* got another file"),
    "a cut journal": (_damaged, "m.journal.jsonl: line 4: the line is not valid JSON"),
}


@pytest.mark.parametrize(("spoil", "told"), SPOILT.values(), ids=SPOILT)
def test_what_does_not_belong_together_is_refused_and_stays(spoil, told: str, cycle: FeedbackCycle, model):
    cycle.add(answers(model)[:2])
    cycle.apply(most_drift=1)
    spoil(cycle)
    before = {path: path.read_bytes() for path in (cycle.model, cycle.journal)}
    for step in (cycle.apply, cycle.undo):
        with pytest.raises(ValueError, match=told):
            step()
    assert {path: path.read_bytes() for path in before} == before


def test_nothing_is_written_when_an_apply_is_refused(cycle: FeedbackCycle, model):
    cycle.add(answers(model))
    before = {path: path.read_bytes() for path in cycle.model.parent.iterdir()}
    with pytest.raises(ValueError, match="most_drift"):
        cycle.apply(most_drift=0)
    assert {path: path.read_bytes() for path in cycle.model.parent.iterdir()} == before
