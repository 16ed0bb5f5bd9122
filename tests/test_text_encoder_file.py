"""Saved text encoders: the same places bit by bit, whole or absent, and damaged files refused by name."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from text_cases import encoder, first_texts, model, new_texts, quickly, world
from torch import Tensor

from hyperspectral_geo.hyperbolic.text import Placement, TextHopEncoder, TextLinks, Tfidf, TitleIndex

Tensors = dict[str, Tensor]
Record = dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder().save(tmp_path_factory.mktemp("encoder") / "places.safetensors")


def placed(made: TextHopEncoder) -> Placement:
    return made.place(new_texts()[:3], world().new[:3], known_texts=first_texts(40), steps=5)


def test_there_and_back_places_bit_by_bit(saved: Path, tmp_path: Path):
    back = TextHopEncoder.load(str(saved))
    first, second = placed(encoder()), placed(back)
    for part in ("out", "into", "between"):
        assert torch.equal(getattr(first.hops, part), getattr(second.hops, part))
        assert torch.equal(getattr(first.links, part), getattr(second.links, part))
    assert torch.equal(first.rows, second.rows)
    assert (first.names, first.foreign) == (second.names, second.foreign)
    assert torch.equal(first.extended().distances(), second.extended().distances())
    assert back.familiar == encoder().familiar
    assert back.save(tmp_path / "again").read_bytes() == saved.read_bytes()


def test_an_encoder_without_mentions_or_vectors_of_its_own_is_saved(tmp_path: Path):
    """The format holds no empty tensors."""
    nothing = TitleIndex([]).find([], [])
    bare = dataclasses.replace(encoder(), links=dataclasses.replace(encoder().links, table=nothing), encoder=None)
    back = TextHopEncoder.load(bare.save(tmp_path / "m"))
    assert len(back.links.table) == 0
    assert back.encoder is None
    own = encoder().encoder
    assert own is not None
    vectors = own.encode(new_texts()[:1])
    first, second = (made.place(new_texts()[:1], vectors=vectors, steps=2) for made in (bare, back))
    assert torch.equal(first.hops.out, second.hops.out)


def test_a_head_that_was_not_trained_is_saved(tmp_path: Path):
    head = dataclasses.replace(
        encoder().head, weights={name: encoder().head.weights[name] for name in ("scale", "mean", "linear")}
    )
    back = TextHopEncoder.load(dataclasses.replace(encoder(), head=head).save(tmp_path / "m"))
    assert set(back.head.weights) == {"scale", "mean", "linear"}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    links, tfidf = TextLinks.fit, Tfidf.fit(list(world().known.values()), dim=8)
    files = []
    for seed in (1, 1, 2):
        monkeypatch.setattr(TextLinks, "fit", lambda *given, seed, fit=links: fit(*given, steps=5, seed=seed))
        with monkeypatch.context() as patch:
            patch.setattr(type(encoder().head), "trained", lambda head, *given, seed: head)
            made = TextHopEncoder.fit(model(), world().graph, world().known, vectors=tfidf, seed=seed)
        files.append(made.save(tmp_path / "m").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


@pytest.mark.parametrize("failing", ["write", "missing folder", "a folder there"])
def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str):
    path = tmp_path / "m"
    path.write_bytes(b"before")
    if failing == "write":
        monkeypatch.setattr("os.fsync", _full)
    elif failing == "missing folder":
        path = tmp_path / "missing" / "m"
    else:
        path = tmp_path / "folder"
        path.mkdir()
    listed = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="."):
        encoder().save(path)
    assert sorted(tmp_path.iterdir()) == listed
    assert (tmp_path / "m").read_bytes() == b"before"


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


# Damage


def changed(saved: Path, path: Path, change: Callable[[Tensors, Record], object]) -> Path:
    """The saved file with changes to its tensors and its record."""
    with safe_open(saved, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(file.metadata()["hyperspectral_geo"])
    change(tensors, record)
    save_file(tensors, path, metadata={"hyperspectral_geo": json.dumps(record)})
    return path


def put(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[Tensors, Record], object]:
    """Another tensor in place of one."""
    return lambda tensors, record: tensors.update({name: make(tensors[name]).contiguous().clone()})


def drop(name: str) -> Callable[[Tensors, Record], object]:
    return lambda tensors, record: tensors.pop(name)


def said(**entries: object) -> Callable[[Tensors, Record], object]:
    """Other entries of the record."""
    return lambda tensors, record: record.update(entries)


def first(value: float) -> Callable[[Tensor], Tensor]:
    """The same with another first number."""
    return lambda x: torch.cat([torch.full_like(x.flatten()[:1], value), x.flatten()[1:]]).reshape(x.shape)


NEGATIVE = {"least": -1.0, "share": 0.0, "shape": 1.0}
FINE = {"least": 1.0, "share": 0.0, "shape": 1.0}
DAMAGE: dict[str, Callable[[Tensors, Record], object]] = {
    "another format": said(format="text hop encoder 2"),
    "no format": lambda tensors, record: record.pop("format"),
    "no model": said(model=None),
    "a model of another geometry": said(model={"geometry": "flat", "scale": 1.0}),
    "no missing links": said(missing={}),
    "missing links of one side": said(missing={"new": [FINE], "unnamed": [FINE]}),
    "missing links negative": said(missing={"new": [NEGATIVE, FINE], "unnamed": [FINE, FINE]}),
    "missing links of other names": said(missing={"new": [{"mean": 1.0}] * 2, "unnamed": [FINE] * 2}),
    "missing links a text": said(missing={"new": [{**FINE, "least": "1"}] * 2, "unnamed": [FINE] * 2}),
    "missing links a list": said(missing=[1, 2]),
    "usual beyond 1": said(usual=2.0),
    "usual a text": said(usual="0.5"),
    "usual absent": lambda tensors, record: record.pop("usual"),
    "names of the model": put("model.names", lambda x: x[:-1]),
    "tangents NaN": put("model.tangents", first(torch.nan)),
    "tangents narrower": put("model.tangents", lambda x: x[:, :-1]),
    "no tangents": drop("model.tangents"),
    "links beyond the pages": put("graph.edges", first(10_000)),
    "links negative": put("graph.edges", first(-1)),
    "links in three columns": put("graph.edges", lambda x: x[:30].reshape(-1, 3)),
    "links of another kind": put("graph.edges", lambda x: x.long()),
    "no links": drop("graph.edges"),
    "a fact missing": drop("facts.lengths"),
    "facts of too few pages": put("facts.lengths", lambda x: x[1:]),
    "facts in half precision": put("facts.mentioned", lambda x: x.half()),
    "facts infinite": put("facts.mentioning", first(torch.inf)),
    "titles in three columns": put("facts.shapes", lambda x: x[:, :3]),
    "directions narrower": put("facts.directions", lambda x: x[:, 1:]),
    "mentions beyond the pages": put("table.pairs", lambda x: x + 100),
    "mentions negative": put("table.pairs", lambda x: x - 1),
    "mentions out of order": put("table.pairs", lambda x: x.flip(0)),
    "mentions twice": put("table.pairs", lambda x: torch.cat([x[:1], x[:1], x[2:]])),
    "counts of too few mentions": put("table.counts", lambda x: x[1:]),
    "spelling of too few mentions": put("table.cased", lambda x: x[1:]),
    "mentions without places": drop("table.first"),
    "center narrower": put("links.center", lambda x: x[1:]),
    "columns too few": put("links.mean", lambda x: x[1:]),
    "deviation zero": put("links.deviation", first(0.0)),
    "a layer missing": drop("network.2.bias"),
    "a layer of another width": put("network.2.weight", lambda x: x[:, :-1]),
    "a layer more": lambda tensors, record: tensors.update({"network.6.bias": torch.zeros(1)}),
    "weights NaN": put("network.0.weight", first(torch.nan)),
    "head without a center": drop("head.center"),
    "head of another width": put("head.linear", lambda x: x[1:]),
    "head without a scale": drop("head.scale"),
    "head half trained": drop("head.hidden"),
    "hidden layer of another width": put("head.out", lambda x: x[:, 1:]),
    "no words": drop("words.joined"),
    "words no text": put("words.joined", lambda x: torch.full_like(x, 255)),
    "words cut": put("words.ends", lambda x: x[:-1]),
    "words falling": put("words.ends", lambda x: x.flip(0)),
    "rarities too few": put("tfidf.rarity", lambda x: x[1:]),
    "word vectors too few": put("tfidf.directions", lambda x: x[1:]),
    "word vectors narrower": put("tfidf.directions", lambda x: x[:, 1:]),
    "vocabulary cut": put("tfidf.ends", lambda x: x[:-1]),
    "no vocabulary": drop("tfidf.joined"),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused_by_name(saved: Path, tmp_path: Path, unchecked, change: Callable[[Tensors, Record], object]):
    path = changed(saved, tmp_path / "m", change)
    with pytest.raises(ValueError, match=f"^{path}: ") as caught:
        TextHopEncoder.load(path)
    assert len(str(caught.value)) < 800
    assert list(tmp_path.iterdir()) == [path]


SENTENCES = {
    "a text": "minilm",
    "one entry": ["minilm"],
    "no name": [1, 8],
    "no passages": ["minilm", 0],
    "half a passage": ["minilm", 1.5],
    "no such folder": ["/nowhere/at/all", 8],
}


@pytest.mark.parametrize("entry", SENTENCES.values(), ids=SENTENCES)
def test_a_wrong_sentence_encoder_is_refused(saved: Path, tmp_path: Path, unchecked, entry: object):
    def change(tensors: Tensors, record: Record) -> None:
        for name in ("joined", "ends", "rarity", "directions"):
            tensors.pop(f"tfidf.{name}")
        record["sentences"] = entry

    pytest.importorskip("transformers")
    path = changed(saved, tmp_path / "m", change)
    with pytest.raises(ValueError, match=f"^{path}: "):
        TextHopEncoder.load(path)


def test_unchanged_it_is_read(saved: Path, tmp_path: Path, unchecked):
    assert len(TextHopEncoder.load(changed(saved, tmp_path / "m", lambda tensors, record: None)).model) == 130


class _Planted:
    def __reduce__(self):
        return (Path.touch, (Path("planted"),))


@pytest.mark.parametrize(
    "kind", ["pickle", "torch.save", "empty", "text", "zeros", "folder", "hop embedding", "cut", "longer"]
)
def test_other_files_are_refused_and_not_run(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.chdir(tmp_path)
    path, whole = tmp_path / "m", saved.read_bytes()
    if kind == "folder":
        path.mkdir()
    elif kind == "torch.save":
        torch.save({"model.tangents": _Planted()}, path)
    elif kind == "hop embedding":
        model().save(path)
    else:
        content = {"pickle": pickle.dumps(_Planted()), "empty": b"", "text": b"hello", "zeros": bytes(100)}
        path.write_bytes((content | {"cut": whole[:-7], "longer": whole + b"\0"})[kind])
    with pytest.raises(ValueError, match=f"^{path}: ") as caught:
        TextHopEncoder.load(path)
    assert ("`hsgeo hops texts` makes one" in str(caught.value)) is (kind == "hop embedding")
    assert list(tmp_path.iterdir()) == [path]


def test_every_cut_of_the_header_is_refused(saved: Path, tmp_path: Path):
    whole, path = saved.read_bytes(), tmp_path / "m"
    for length in range(0, 3000, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"^{path}: "):
            TextHopEncoder.load(path)


def test_a_missing_file_is_an_os_error_that_names_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="missing: expected a saved text hop encoder, got no such file"):
        TextHopEncoder.load(tmp_path / "missing")


def test_quick_training_is_what_the_shared_encoder_has():
    """The shared encoder is a real one: what ``quickly`` shortens is put back."""
    before = TextLinks.fit
    with quickly():
        assert TextLinks.fit is not before
    assert TextLinks.fit == before
