"""The journal: what is appended is read again, what was damaged is refused, and two at a time lose nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import HopEmbedding
from hyperspectral_geo.hyperbolic.feedback import Closer, FeedbackCycle, Journal
from hyperspectral_geo.hyperbolic.feedback.journal import answers_digest, journal_lock

HASH, OTHER = "0123456789abcdef" * 4, "f" * 64
HEADER = {"kind": "journal", "format": 1, "model": HASH, "points": 3}
ANSWER = {"kind": "closer", "source": "a", "target": "b"}
APPLY = {"kind": "apply", "answers": [1], "model": OTHER, "time": "2026-11-22T10:00:00Z"}
UNDO = {**APPLY, "kind": "undo"}


def written(folder: Path, *records: Any) -> Path:
    path = folder / "m.journal.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@given(st.lists(st.sampled_from(["add", "add two", "apply", "undo last", "undo first"]), max_size=12))
def test_a_journal_is_what_a_plain_list_of_its_events_says(events: list[str]):
    journal, given_, undone, applied = Journal.empty(HASH, 3), 0, set(), []
    for event in events:
        active = [n for n in range(1, given_ + 1) if n not in undone]
        assert list(journal.active) == active
        if event.startswith("add"):
            more = [Closer("a", "b")] * (1 + event.endswith("two"))
            journal, given_ = journal.with_answers(more), given_ + len(more)
        elif event == "apply":
            journal, applied = journal.with_apply(active, OTHER), active
        elif active:
            number = active[-1 if event.endswith("last") else 0]
            journal = journal.with_undo([number], OTHER)
            undone.add(number)
            applied = [n for n in applied if n != number]
    assert list(journal.applied) == applied
    assert set(journal.undone) == undone
    assert len(journal.answers) == given_
    assert len(journal.lines.splitlines()) == 1 + given_ + sum(e == "apply" for e in events) + len(undone)


def test_what_was_written_is_read(tmp_path: Path):
    journal = Journal.empty(HASH, 3).with_answers([Closer("a", "b"), Closer("b", "c", time="2026-01-01")])
    journal = journal.with_apply([1, 2], OTHER).with_answers([Closer("c", "a", author="ann")]).with_undo([2], HASH)
    path = journal.write(tmp_path / "m.journal.jsonl")
    assert Journal.read(path) == journal
    assert Journal.read(path).made == (OTHER, HASH)
    assert all(one.time for one in journal.answers)
    assert journal.answers[1].time == "2026-01-01"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    more = Journal.read(path).with_answers([Closer("a", "c")])
    assert len(Journal.read(more.write(path)).answers) == 4


def test_the_last_apply_is_found_below_those_taken_back():
    journal = Journal.empty(HASH, 3).with_answers([Closer("a", "b"), Closer("b", "c")]).with_apply([1, 2], OTHER)
    journal = journal.with_answers([Closer("c", "a")]).with_apply([1, 2, 3], OTHER)
    assert journal.last_applied == (3,)
    journal = journal.with_undo([3], OTHER)
    assert journal.last_applied == (1, 2)
    journal = journal.with_undo([1], OTHER)
    assert journal.last_applied == (2,)
    assert journal.with_undo([2], OTHER).last_applied == ()


def test_the_digest_tells_answers_apart():
    one, other = Closer("a", "b", where="here"), Closer("a", "b", strength=2)
    assert answers_digest([one]) == answers_digest([Closer("a", "b")]) != answers_digest([other])
    assert answers_digest([one, other]) != answers_digest([other, one])


DAMAGED: dict[str, tuple[tuple[Any, ...], str]] = {
    "no header": ((ANSWER,), "line 1: expected as kind 'journal', got 'closer'"),
    "another format": (({**HEADER, "format": 2},), "line 1: expected as format 1, got 2"),
    "format true": (({**HEADER, "format": True},), "line 1: expected as format 1, got True"),
    "no digest": (({**HEADER, "model": "x"},), "line 1: expected as model 64 hexadecimal digits, got 'x'"),
    "no points": (({**HEADER, "points": 0},), "line 1: expected as points a number of concepts, got 0"),
    "header twice": ((HEADER, HEADER), "line 2: kind: expected one of"),
    "bad answer": ((HEADER, ANSWER, {**ANSWER, "target": "a"}), "line 3: target: expected another concept"),
    "apply of nothing given": ((HEADER, APPLY), "line 2: answers: expected numbers of answers .* got \\[1\\]"),
    "apply twice one": ((HEADER, ANSWER, {**APPLY, "answers": [1, 1]}), "line 3: answers: expected numbers"),
    "apply of texts": ((HEADER, ANSWER, {**APPLY, "answers": ["1"]}), "line 3: answers: expected numbers"),
    "apply of true": ((HEADER, ANSWER, {**APPLY, "answers": [True]}), "line 3: answers: expected numbers"),
    "apply without model": ((HEADER, ANSWER, {"kind": "apply", "answers": [1]}), "line 3: expected fields kind, ans"),
    "apply of no digest": ((HEADER, ANSWER, {**APPLY, "model": 3}), "line 3: model: expected 64 hexadecimal"),
    "undone twice": ((HEADER, ANSWER, UNDO, UNDO), "line 4: answers: expected numbers .*\\(none\\)"),
    "unknown field": ((HEADER, ANSWER, {**UNDO, "why": "x"}), "line 3: expected fields kind, answers, model, time"),
    "not an object": ((HEADER, [1]), "line 2: expected a JSON object"),
}


@pytest.mark.parametrize(("records", "told"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_refused_with_its_line(records: tuple, told: str, tmp_path: Path, unchecked):
    path = written(tmp_path, *records)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"m.journal.jsonl(:|,) {told}"):
        Journal.read(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_no_journal(tmp_path: Path):
    with pytest.raises(ValueError, match="expected a journal, got an empty file"):
        Journal.read(written(tmp_path))


def test_a_missing_folder_is_told(tmp_path: Path):
    model = HopEmbedding(("a", "b", "c"), torch.eye(3)).save(tmp_path / "m.safetensors")
    cycle = FeedbackCycle.of(model, tmp_path / "none" / "j.jsonl")
    for step in (cycle.read, cycle.apply, lambda: cycle.add([Closer("a", "b")])):
        with pytest.raises(FileNotFoundError, match="none: expected a folder with a model or a journal, got none"):
            step()


@pytest.mark.parametrize(("number", "known"), [(errno.ENOLCK, True), (errno.EBADF, True), (errno.EINTR, False)])
def test_a_folder_that_cannot_be_locked_is_used_unlocked(number: int, known: bool, tmp_path: Path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    entered = False
    with contextlib.nullcontext() if known else pytest.raises(OSError), journal_lock(tmp_path / "j", tmp_path / "m"):
        entered = True
    assert entered == known


def _add(model: Path, author: str) -> None:
    for number in range(5):
        FeedbackCycle.of(model).add([Closer("a", "b", author=f"{author} {number}")])


def test_two_processes_lose_no_answer(tmp_path: Path):
    model = HopEmbedding(("a", "b", "c"), torch.eye(3)).save(tmp_path / "m.safetensors")
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_add, args=(model, author)) for author in ("ann", "bob")]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    found = FeedbackCycle.of(model).read()
    assert sorted(str(one.author) for one in found.answers) == [f"{a} {i}" for a in ("ann", "bob") for i in range(5)]
