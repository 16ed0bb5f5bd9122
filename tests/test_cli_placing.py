"""``hsgeo hops texts`` and ``hsgeo hops place``: what they print and write, and what is refused in a line."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import pytest
from text_cases import encoder, first_texts, model, new_texts, quickly, world

from hyperspectral_geo.hyperbolic import HopEmbedding
from hyperspectral_geo.hyperbolic.text import TextHopEncoder

Hsgeo = Callable[..., int]


def lines(pages: dict[str, str]) -> str:
    return "".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in pages.items())


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place is moved five times, not a hundred."""
    monkeypatch.setattr(TextHopEncoder, "place", partialmethod(TextHopEncoder.place, steps=5))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, its graph, texts of its pages, texts of new ones, and an encoder, as files."""
    folder = tmp_path_factory.mktemp("places")
    names = world().graph.names
    # Each page links to the next: these links first, so that the file names the pages in the model's order.
    edges = sorted(world().graph.edges.tolist(), key=lambda edge: edge[1] - edge[0] != 1)
    found = {name: folder / name for name in ("links.tsv", "known.jsonl", "new.jsonl", "few.jsonl")}
    found["links.tsv"].write_text("".join(f"{names[a]}\t{names[b]}\n" for a, b in edges))
    found["known.jsonl"].write_text(lines(world().known))
    found["new.jsonl"].write_text(lines({name: world().texts[name] for name in world().new[:2]}))
    found["few.jsonl"].write_text(lines(first_texts(3)))
    found["folder"] = folder / "folder"
    found["folder"].mkdir()
    (found["folder"] / "Zezu.txt").write_text(new_texts()[0])
    found["model"] = model().save(folder / "model.safetensors")
    found["places"] = encoder().save(folder / "places.safetensors")
    return found


def test_texts_does_what_fit_does(hsgeo: Hsgeo, places: dict[str, Path], tmp_path: Path, capsys):
    out = tmp_path / "out.safetensors"
    with quickly():
        assert hsgeo("hops", "texts", places["model"], places["links.tsv"], places["known.jsonl"], "-o", out) == 0
    said = capsys.readouterr()
    assert f"{out}: 130 pages" in said.out
    assert "titles in the texts" in said.err
    assert out.read_bytes() == places["places"].read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_place_prints_the_nearest_concepts(hsgeo: Hsgeo, places: dict[str, Path], capsys):
    text = new_texts()[0]
    assert hsgeo("hops", "place", places["places"], text, "-k", 4) == 0
    said = capsys.readouterr()
    rows = said.out.splitlines()
    assert rows[0] == "text 1"
    assert len(rows) == 6
    placed = encoder().place([text])
    for row, to, back in zip(rows[2:], placed.nearest(count=4), placed.nearest(count=4, reverse=True), strict=True):
        assert row.startswith(f"  {to.hops:4.1f}  {to.link:5.2f}  {to.name}")
        assert row.endswith(f"{back.hops:4.1f}  {back.link:5.2f}  {back.name}")
    assert said.err == ""


def test_text_may_come_from_standard_input(
    hsgeo: Hsgeo, places: dict[str, Path], capsys, monkeypatch: pytest.MonkeyPatch
):
    assert hsgeo("hops", "place", places["places"], new_texts()[1], "--json") == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO(new_texts()[1]))
    assert hsgeo("hops", "place", places["places"], "-", "--json") == 0
    assert capsys.readouterr().out == expected


def test_many_pages_from_a_file_with_titles_sought(hsgeo: Hsgeo, places: dict[str, Path], tmp_path: Path, capsys):
    out = tmp_path / "more.safetensors"
    given = ["--file", places["new.jsonl"], "--known-texts", places["known.jsonl"]]
    assert hsgeo("hops", "place", places["places"], *given, "-k", 3, "--json", "--extended", out) == 0
    found = json.loads(capsys.readouterr().out)
    placed = encoder().place(new_texts()[:2], world().new[:2], known_texts=world().known)
    assert [page["title"] for page in found] == list(world().new[:2])
    for at, page in enumerate(found):
        assert page["foreign"] is False
        for way, reverse in (("to", False), ("from", True)):
            near = placed.nearest(at, count=3, reverse=reverse)
            assert [one["name"] for one in page[way]] == [one.name for one in near]
            assert [one["hops"] for one in page[way]] == pytest.approx([one.hops for one in near], abs=1e-4)
            assert [one["link"] for one in page[way]] == pytest.approx([one.link for one in near], abs=1e-4)
    more = HopEmbedding.load(out)
    assert more.names == (*world().graph.names, *world().new[:2])
    assert more.distance(world().new[0], world().titles[0]) == pytest.approx(
        placed.extended().distance(world().new[0], world().titles[0])
    )


def test_a_title_is_sought_in_known_texts(hsgeo: Hsgeo, places: dict[str, Path], capsys):
    found = []
    for title in (world().new[0], "Nowhere at all"):
        given = [new_texts()[0], "--title", title, "--known-texts", places["known.jsonl"]]
        assert hsgeo("hops", "place", places["places"], *given, "--json") == 0
        (page,) = json.loads(capsys.readouterr().out)
        assert page["title"] == title
        found.append(sum(one["link"] for one in page["from"]))
    assert found[0] > found[1]


def test_a_folder_of_texts(hsgeo: Hsgeo, places: dict[str, Path], capsys):
    assert hsgeo("hops", "place", places["places"], "--file", places["folder"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Zezu"


def test_text_in_another_language_is_placed_and_flagged(hsgeo: Hsgeo, places: dict[str, Path], capsys):
    text = "Das Bier ist ein Getränk, das durch Gärung gewonnen wird und dem kein Zucker zugesetzt wird."
    assert hsgeo("hops", "place", places["places"], text) == 0
    assert "another language" in capsys.readouterr().err
    assert hsgeo("hops", "place", places["places"], text, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["foreign"] is True


def test_titles_cannot_move_the_cursor(hsgeo: Hsgeo, places: dict[str, Path], capsys):
    assert hsgeo("hops", "place", places["places"], "the of", "--title", "\x1b[2J\r") == 0
    assert "\x1b" not in capsys.readouterr().out


BAD: dict[str, tuple[list[str], str]] = {
    "no text": (["place", "{places}"], "text: expected either a text or --file, got both or neither"),
    "text and file": (["place", "{places}", "a", "--file", "{new.jsonl}"], "text: expected either a text or --file"),
    "empty text": (["place", "{places}", ""], "text of 'text 1': expected a text with words, got ''"),
    "signs": (["place", "{places}", "?!"], "expected a text with words"),
    "title beside a file": (["place", "{places}", "--file", "{new.jsonl}", "--title", "x"], "--title: expected beside"),
    "known texts alone": (
        ["place", "{places}", "a", "--known-texts", "{known.jsonl}"],
        "--known-texts: expected --tit",
    ),
    "no such texts": (["place", "{places}", "--file", "{tmp}/none"], "none: expected wikispeedia, a .jsonl file or a"),
    "texts of no kind": (["place", "{places}", "--file", "{links.tsv}"], "expected a file .jsonl or .jsonl.gz"),
    "known texts of others": (
        ["place", "{places}", "a", "--title", "b", "--known-texts", "{new.jsonl}"],
        "known_texts: expected texts of the model's pages",
    ),
    "a known title in the model": (
        ["place", "{places}", "--file", "{few.jsonl}", "--extended", "{new}"],
        "titles: expected names that the model does not have",
    ),
    "extended nowhere": (["place", "{places}", "a", "--extended", "{tmp}/no/m"], "--extended: expected a file in an"),
    "a hop model": (["place", "{model}", "a"], "expected a saved text hop encoder, got 'hop embedding 1'"),
    "no encoder": (["place", "{tmp}/none", "a"], "none: expected a saved text hop encoder, got no such file"),
    "texts to place with": (["place", "{known.jsonl}", "a"], "known.jsonl: expected"),
    "too few texts": (["texts", "{model}", "{links.tsv}", "{few.jsonl}", "-o", "{new}"], "got none for 127, such as"),
    "another graph": (["texts", "{model}", "wordnet-mammals", "{known.jsonl}", "-o", "{new}"], "got other names"),
    "no folder to write": (
        ["texts", "{model}", "{links.tsv}", "{known.jsonl}", "-o", "{tmp}/no/x"],
        "--out: expected a file in an existing folder",
    ),
    "no sentence encoder": (
        ["texts", "{model}", "{links.tsv}", "{known.jsonl}", "-o", "{new}", "--sentences", "{tmp}"],
        "expected a folder with config.json",
    ),
    "not a model": (["texts", "{places}", "{links.tsv}", "{known.jsonl}", "-o", "{new}"], "expected a saved hop embed"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_done_is_said_in_a_line(
    hsgeo: Hsgeo, places: dict[str, Path], tmp_path: Path, capsys, unchecked, arguments: list[str], said: str
):
    if "--sentences" in arguments:
        pytest.importorskip("transformers")
    named = {"tmp": tmp_path, "new": tmp_path / "new.safetensors"} | places
    filled = [next((a.replace(f"{{{n}}}", str(p)) for n, p in named.items() if f"{{{n}}}" in a), a) for a in arguments]
    assert hsgeo("hops", *filled) == 2
    shown = capsys.readouterr()
    assert said in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(
    hsgeo: Hsgeo, places: dict[str, Path], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "more.safetensors"
    out.write_bytes(b"before")
    monkeypatch.setattr("os.fsync", fail)
    assert hsgeo("hops", "place", places["places"], new_texts()[0], "--extended", out) == 2
    assert "No space left" in capsys.readouterr().err
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


def test_a_written_encoder_places_as_the_one_in_memory(places: dict[str, Path]):
    first, second = (made.place(["the of"]) for made in (encoder(), TextHopEncoder.load(places["places"])))
    assert first.nearest() == second.nearest()
