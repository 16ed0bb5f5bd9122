"""Knowledge graphs: the known sets by their counts, any folder, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from hyperspectral_geo.data.knowledge_graph import (
    KNOWLEDGE_GRAPHS,
    KnowledgeGraph,
    load_knowledge_graph,
    synset_glosses,
)

GOOD = "dog\tis a\tmammal\ncat\tis a\tmammal\n"
UNSEEN = {"wn18rr": 384, "fb15k-237": 36, "codex-s": 0, "umls": 0, "kinships": 0}


def folder_of(path: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (path / f"{name}.txt").write_bytes(data)
    return path


@pytest.mark.parametrize("name", KNOWLEDGE_GRAPHS)
def test_known_sets_have_their_counts(shared_data, name):
    shared_data("kg")
    kg = load_knowledge_graph(name)
    assert kg.counts == KNOWLEDGE_GRAPHS[name][1]
    assert kg.unseen == UNSEEN[name]
    assert len(kg.train.unique(dim=0)) == len(kg.train)
    assert kg.train[:, [0, 2]].max() < len(kg.entities)


def test_glosses_of_wordnet_are_those_of_the_entities(shared_data):
    shared_data("kg"), shared_data("wordnet")
    glosses = synset_glosses(load_knowledge_graph("wn18rr").entities)
    assert sum(gloss is not None for gloss in glosses) == 32_155
    assert synset_glosses(["02084071", "99999999"])[1] is None
    assert str(synset_glosses(["02084071"])[0]).startswith("dog, domestic dog, Canis familiaris: a member of the genus")


def test_names_are_numbered_in_order_of_appearance_and_splits_may_be_missing(tmp_path):
    kg = load_knowledge_graph(folder_of(tmp_path, train=GOOD, test="fox\teats\tcat\n"))
    assert kg.entities == ("dog", "mammal", "cat", "fox")
    assert kg.relations == ("is a", "eats")
    assert kg.train.tolist() == [[0, 0, 1], [2, 0, 1]]
    assert kg.test.tolist() == [[3, 1, 2]]
    assert kg.valid.shape == (0, 3)
    assert kg.valid.dtype == torch.int64
    assert kg.unseen == 1


@pytest.mark.parametrize("content", [GOOD.replace("\n", "\r\n"), "# a comment\n\n" + GOOD, "\ufeff" + GOOD, GOOD[:-1]])
def test_ways_to_write_the_same(tmp_path, content):
    assert load_knowledge_graph(folder_of(tmp_path, train=content)).counts == (3, 1, 2, 0, 0)


def test_gzipped_files_are_read(tmp_path):
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(GOOD.encode()))
    assert load_knowledge_graph(tmp_path).counts == (3, 1, 2, 0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD + "cat\tis a\n", "line 3: expected head, relation and tail"),
        (GOOD + "cat is a mammal\n", "line 3: expected head, relation and tail"),
        (GOOD + "a\tb\tc\td\n", "line 3: expected head"),
        ("\tis a\tmammal\n", "line 1: expected head"),
        ("dog\t \tmammal\n", "line 1: expected head"),
        (GOOD.encode() + b"\xff\tis a\tx\n", "line 3: expected UTF-8"),
        ("", "expected triples"),
        ("# nothing\n\n", "expected triples"),
        (b"\0\0\0\0", "line 1: expected head"),
        (GOOD + "do\0g\tis a\tmammal\n", "line 3: expected names, .*control characters"),
        (GOOD.encode("utf-16"), "line 1: expected UTF-8"),
        (GOOD.encode("utf-16-le"), "line 1: expected names"),
    ],
)
def test_damaged_files_are_named_with_their_line(tmp_path, content, said):
    with pytest.raises(ValueError, match=said) as caught:
        load_knowledge_graph(folder_of(tmp_path, train=content))
    assert "train.txt" in str(caught.value)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_damage_in_other_splits_is_named_too(tmp_path, split):
    with pytest.raises(ValueError, match=rf"{split}\.txt, line 1"):
        load_knowledge_graph(folder_of(tmp_path, train=GOOD, **{split: "x\n"}))


@pytest.mark.parametrize("kept", [0, 5, 20, -1])
def test_gzip_files_cut_short_are_refused(tmp_path, kept):
    whole = gzip.compress(GOOD.encode() * 50)
    (tmp_path / "train.txt.gz").write_bytes(whole[:kept] if kept >= 0 else whole[:-1])
    with pytest.raises(ValueError, match=r"train\.txt\.gz"):
        load_knowledge_graph(tmp_path)


@pytest.mark.parametrize("name", ["", "no such set", "WN18RR", "umls/../../etc", "\0"])
def test_unknown_names_list_the_known_ones(name):
    with pytest.raises((FileNotFoundError, ValueError), match="wn18rr, fb15k-237|null byte"):
        load_knowledge_graph(name)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [None, 3, b"umls", ["umls"]])
def test_what_is_no_name_is_refused(name):
    with pytest.raises((FileNotFoundError, ValueError), match="expected"):
        load_knowledge_graph(name)


def test_an_empty_folder_is_told_what_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected train.txt"):
        load_knowledge_graph(tmp_path)


def test_a_named_set_of_other_counts_is_refused_unless_asked_for(tmp_path, monkeypatch):
    (tmp_path / "kg" / "umls").mkdir(parents=True)
    folder_of(tmp_path / "kg" / "umls", train=GOOD)
    monkeypatch.setenv("HSGEO_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected 135, 46, 5,216.*got 3, 1, 2"):
        load_knowledge_graph("umls")
    assert load_knowledge_graph("umls", verify=False).counts == (3, 1, 2, 0, 0)
    with pytest.raises(ValueError, match="expected 135"):
        load_knowledge_graph("umls", folder=tmp_path / "kg" / "umls")


def test_a_damaged_wordnet_is_named(tmp_path):
    (tmp_path / "data.noun").write_text("00000001 03 n zz dog 0 000 @ 1 | a dog\n")
    with pytest.raises(ValueError, match=r"data\.noun, line 1: expected a count of words"):
        synset_glosses(["00000001"], tmp_path / "data.noun")
    with pytest.raises(FileNotFoundError):
        synset_glosses(["00000001"], tmp_path / "missing")


def test_triples_by_name_need_no_file():
    kg = KnowledgeGraph.from_triples([("a", "r", "b")], test=[("c", "r", "a")])
    assert (kg.counts, kg.unseen) == ((3, 1, 1, 0, 1), 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "triple", [("a", "b"), ("a", "r", "b", "c"), "arb", (1, 2, 3), ("a", None, "b"), ("", "r", "b"), None], ids=repr
)
def test_what_is_no_triple_of_names_is_refused_with_its_place(triple):
    with pytest.raises(ValueError, match=r"valid\[1\]: expected the names of head, relation and tail"):
        KnowledgeGraph.from_triples([("a", "r", "b")], [("a", "r", "b"), triple])
