"""``hsgeo hops feedback`` and ``hops train --constraints``: what is said, listed, applied, taken back and refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hop_cases import random_graph

from hyperspectral_geo.hyperbolic import HopEmbedding, fit
from hyperspectral_geo.hyperbolic.feedback import FeedbackCycle

Hsgeo = Callable[..., int]


@pytest.fixture(scope="module")
def trained() -> HopEmbedding:
    return fit(random_graph(30, 90), dim=3, steps=100)


@pytest.fixture
def model(trained: HopEmbedding, tmp_path: Path) -> Path:
    return trained.save(tmp_path / "m.safetensors")


@pytest.fixture
def feedback(hsgeo: Hsgeo, model: Path) -> Hsgeo:
    return lambda *words: hsgeo("hops", "feedback", model, *words)


def test_a_cycle_from_question_to_undo(feedback: Hsgeo, model: Path, tmp_path: Path, capsys):
    base = model.read_bytes()
    assert feedback("ask", "-n", 3, "--json", tmp_path / "asked.json") == 0
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert len(asked) == 3
    assert f"{asked[0]['source']} → {asked[0]['target']}" in capsys.readouterr().out
    assert feedback("add", "closer", "0", "1", "--author", "ann", "--strength", 2) == 0
    assert feedback("add", "hops", "2", "3", "4", "--both") == 0
    assert feedback("add", "nearer", "4", "5", "6", "--toward") == 0
    assert feedback("add", "group", "2", "7", "8", "9") == 0
    assert feedback("add", "pin", "10") == 0
    assert "m.journal.jsonl: answer 5" in capsys.readouterr().out
    assert feedback("apply", "--most-drift", 1, "--json", tmp_path / "changes.json") == 0
    shown = capsys.readouterr().out
    assert "closer · 0 · 1" in shown
    assert "nearest to" in shown
    assert "follows 5 answers" in shown
    assert "Other pairs changed by" in shown
    changes = json.loads((tmp_path / "changes.json").read_text())
    assert [one["answer"]["kind"] for one in changes["answers"]] == ["closer", "hops", "nearer", "group", "pin"]
    assert changes["answers"][1]["answer"]["hops"] == 4
    assert {one["name"] for one in changes["neighbors"]} == {str(i) for i in range(11)}
    assert model.read_bytes() != base
    assert feedback("undo", 2) == 0
    assert feedback("list", "--json", tmp_path / "list.json") == 0
    assert "taken back" in capsys.readouterr().out
    states = [one["state"] for one in json.loads((tmp_path / "list.json").read_text())]
    assert states == ["in the model", "taken back", *["in the model"] * 3]
    assert feedback("undo", "--apply") == 0
    assert "is what it was before any answer; taken back: 1, 3, 4, 5" in capsys.readouterr().out
    assert model.read_bytes() == base


def test_answers_of_a_page_are_taken_over_once(feedback: Hsgeo, model: Path, tmp_path: Path, capsys):
    page = tmp_path / "page.jsonl"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    header = {"kind": "journal", "format": 1, "model": digest, "points": 30}
    said = {"kind": "closer", "source": "0", "target": "1", "author": "bob", "time": "2026-11-22T10:00:00Z"}
    page.write_text(json.dumps(header) + "\n" + json.dumps(said) + "\n" + json.dumps({**said, "kind": "pin"}) + "\n")
    assert feedback("add", "--from", page) == 2
    assert "line 3: 'source': expected no such field in pin" in capsys.readouterr().err
    page.write_text("".join(json.dumps(one) + "\n" for one in (header, said, {**said, "target": "2"}, said)))
    assert feedback("add", "--from", page) == 0
    assert "2 answers of" in capsys.readouterr().out
    assert feedback("apply", "--most-drift", 1) == 0
    assert feedback("add", "--from", page) == 0
    assert "0 answers of" in capsys.readouterr().out
    page.write_text(json.dumps({**header, "model": "0" * 64}) + "\n" + json.dumps(said) + "\n")
    before = model.read_bytes()
    assert feedback("add", "--from", page) == 2
    assert "expected answers to this model, SHA-256" in capsys.readouterr().err
    assert model.read_bytes() == before


REFUSED: dict[str, tuple[tuple, str]] = {
    "nothing": (("add",), "add: expected a kind (closer, farther"),
    "unknown kind": (("add", "close", "0", "1"), "got 'close'"),
    "link": (("add", "link", "0", "1"), "links are changed before training"),
    "too few words": (("add", "closer", "0"), "add closer: expected SOURCE TARGET, got 1 words"),
    "too many words": (("add", "pin", "0", "1"), "add pin: expected NAME, got 2 words"),
    "no number": (("add", "hops", "0", "1", "two"), "add hops: expected a number of hops, got 'two'"),
    "hops 0": (("add", "hops", "0", "1", "0"), "hops: expected a number of hops from 1e-06 to 1e+06"),
    "hops NaN": (("add", "hops", "0", "1", "nan"), "hops: expected a number of hops from 1e-06 to 1e+06"),
    "self": (("add", "closer", "0", "0"), "target: expected another concept than the source"),
    "both of nearer": (("add", "nearer", "0", "1", "2", "--both"), "--both: expected with another kind than nearer"),
    "toward of a pair": (("add", "closer", "0", "1", "--toward"), "--toward: expected with another kind than closer"),
    "strength": (("add", "closer", "0", "1", "--strength", "0"), "strength: expected a number above 0"),
    "unknown name": (("add", "closer", "0", "31"), "'31' is not one of the 30 concepts; similar:"),
    "no such file": (("add", "--from", "none.jsonl"), "none.jsonl: expected a file of JSON lines, got no such file"),
    "nothing to apply": (("apply",), "expected answers to apply, got none"),
    "nothing to undo": (("undo",), "expected answers to take back, got none"),
    "no apply to undo": (("undo", "--apply"), "expected an apply to take back, got none"),
    "no such answer": (("undo", "7"), "answers: expected numbers of answers that were given"),
    "both ways to undo": (("undo", "1", "--apply"), "undo: expected numbers or --apply, got both"),
    "bad conflicts": (("apply", "--conflicts", "no"), "expected answers to apply"),
}


@pytest.mark.parametrize(("words", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_said_in_a_line(words, told: str, feedback: Hsgeo, model: Path, capsys, unchecked):
    before = model.read_bytes()
    assert feedback(*words) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert [path.name for path in model.parent.iterdir()] == ["m.safetensors"]
    assert model.read_bytes() == before


def test_answers_without_a_time_are_taken_over_once(feedback: Hsgeo, tmp_path: Path, capsys):
    said = tmp_path / "said.jsonl"
    said.write_text('{"kind": "closer", "source": "0", "target": "1"}\n{"kind": "pin", "name": "2"}\n')
    for told in ("2 answers of", "0 answers of"):
        assert feedback("add", "--from", said) == 0
        assert told in capsys.readouterr().out
    assert feedback("undo", 2) == 0
    assert feedback("add", "--from", said) == 0
    assert "1 answers of" in capsys.readouterr().out


def test_links_are_refused_before_they_block_an_apply(feedback: Hsgeo, model: Path, tmp_path: Path, capsys):
    said = tmp_path / "said.jsonl"
    said.write_text('{"kind": "pin", "name": "2"}\n{"kind": "link", "source": "0", "target": "1", "length": 1}\n')
    assert feedback("add", "--from", said) == 2
    assert "got link (source '0', target '1', length 1, said.jsonl, line 2); leave it out" in capsys.readouterr().err
    assert not FeedbackCycle.of(model).journal.exists()


def test_contradictions_are_refused_or_weighed(feedback: Hsgeo, model: Path, capsys, unchecked):
    assert feedback("add", "closer", "0", "1", "--author", "ann") == 0
    assert feedback("add", "farther", "0", "1", "--author", "bob") == 0
    before = model.read_bytes()
    assert feedback("apply", "--most-drift", 1) == 2
    said = capsys.readouterr().err
    assert "by 'ann'" in said
    assert "by 'bob'" in said
    assert model.read_bytes() == before
    assert feedback("apply", "--most-drift", 1, "--conflicts", "weigh") == 0


def test_a_journal_of_another_model_is_refused(feedback: Hsgeo, hsgeo: Hsgeo, model: Path, tmp_path: Path, capsys):
    assert feedback("add", "closer", "0", "1") == 0
    other = fit(random_graph(30, 60, seed=1), dim=2, steps=5).save(tmp_path / "other.safetensors")
    before = other.read_bytes()
    for command in ("apply", "list", "undo", "ask"):
        assert hsgeo("hops", "feedback", "--journal", tmp_path / "m.journal.jsonl", other, command) == 2
        assert "expected the journal of other.safetensors" in capsys.readouterr().err
    assert other.read_bytes() == before


def test_names_cannot_move_the_cursor(hsgeo: Hsgeo, tmp_path: Path, capsys):
    graph = random_graph(8, 30)
    names = ("\x1b[2Jevil", "<b>[red]x", *graph.names[2:])
    model = fit(type(graph)(names, graph.edges, True), dim=2, steps=20).save(tmp_path / "m.safetensors")
    FeedbackCycle.of(model)
    assert hsgeo("hops", "feedback", model, "add", "closer", *names[:2]) == 0
    for command in (["list"], ["apply", "--most-drift", 9], ["ask"]):
        assert hsgeo("hops", "feedback", model, *command) == 0
        shown = capsys.readouterr().out
        assert "\x1b[2J" not in shown
        assert "<b>[red]x" in shown


# Before training


@pytest.fixture
def links(tmp_path: Path) -> Path:
    path = tmp_path / "links.tsv"
    path.write_text("".join(f"town {i}\ttown {(i + 1) % 12}\n" for i in range(12)))
    return path


def test_training_hears_what_people_say(hsgeo: Hsgeo, links: Path, tmp_path: Path, capsys):
    said = tmp_path / "said.jsonl"
    said.write_text('{"kind": "hops", "source": "town 0", "target": "town 7", "hops": 1}\n')
    heard, short = (tmp_path / f"{name}.safetensors" for name in ("heard", "short"))
    options = ["--dim", 2, "--steps", 250]
    assert hsgeo("hops", "train", links, "-o", heard, *options, "--constraints", said, "--trust", 100) == 0
    distance = lambda path: HopEmbedding.load(path).distance("town 0", "town 7")  # noqa: E731
    assert distance(heard) < 4  # 7 hops by the links
    said.write_text('{"kind": "link", "source": "town 0", "target": "town 7", "length": 1}\n')
    assert hsgeo("hops", "train", links, "-o", short, *options, "--constraints", said) == 0
    assert distance(short) < 4


BAD_PRIOR = {
    "unknown": (
        '{"kind": "pin", "name": "town 12"}',
        [],
        "said.jsonl: line 1: 'town 12' is not one of the 12 concepts",
    ),
    "not JSON": ("closer", [], "said.jsonl: line 1: the line is not valid JSON"),
    "pinned nowhere": ('{"kind": "pin", "name": "town 1"}', [], "start: expected one, whose concepts are pinned"),
    "trust": ('{"kind": "pin", "name": "town 1"}', ["--trust", "0"], "--trust: expected a finite number > 0"),
    "ranks": (
        '{"kind": "pin", "name": "town 1"}',
        ["--objective", "links"],
        "--constraints: expected with --objective",
    ),
    "contradiction": (
        '{"kind": "link", "source": "town 1", "target": "town 2", "length": 1}\n'
        '{"kind": "link", "source": "town 1", "target": "town 2", "length": null}',
        [],
        "two lengths for one link: link (source 'town 1', target 'town 2', length 1, said.jsonl, line 1) against",
    ),
}


@pytest.mark.parametrize(("text", "options", "told"), BAD_PRIOR.values(), ids=BAD_PRIOR)
def test_a_bad_prior_is_refused_before_training(
    text: str, options: list, told: str, hsgeo: Hsgeo, links: Path, tmp_path: Path, capsys, unchecked
):
    said = tmp_path / "said.jsonl"
    said.write_text(text)
    out = tmp_path / "m.safetensors"
    assert hsgeo("hops", "train", links, "-o", out, "--dim", 2, "--steps", 5, "--constraints", said, *options) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
