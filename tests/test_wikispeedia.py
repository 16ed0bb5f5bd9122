"""Wikispeedia: counts, agreement with an independent reading and with stored hop counts, and how damage is reported."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import networkx
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from hyperspectral_geo.data import article_text, load_categories, load_walks, load_wikispeedia
from hyperspectral_geo.data.catalogue import cache_folder, find_data_set, require_data_set
from hyperspectral_geo.hyperbolic import HopGraph

TABLES = {
    "articles.tsv": "# FORMAT: article\n\n%C3%89ire\nNew_York\nParis\nLonely\nLondon\n",
    "links.tsv": "# links\n\n%C3%89ire\tLondon\nLondon\tParis\nParis\tLondon\nParis\tParis\nNew_York\tParis\n",
    "categories.tsv": "# c\n\n%C3%89ire\tsubject.Countries\n%C3%89ire\tsubject.Geography.Europe\nParis\tsubject.X\n",
    "paths_unfinished.tsv": (
        "#\n\n0a\t1297\t1804\tNew_York;Paris;<;%C3%89ire\tLondon\ttimeout\n0b\t1\t4\tParis\tC++\trestart\n"
    ),
}


def folder_with(place: Path, **changed: str) -> Path:
    for name, text in {**TABLES, **{f"{key}.tsv": value for key, value in changed.items()}}.items():
        (place / name).write_bytes(text.encode("latin-1"))
    return place


def archive_with(place: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(place / "plaintext_articles.tar.gz", "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return place


@pytest.fixture(scope="module")
def home(shared_data: Callable[[str], Path]) -> Path:
    return shared_data("wikispeedia")


# The shared copy


def test_counts(home: Path):
    whole, core = load_wikispeedia(home), load_wikispeedia(home, core=True)
    assert (len(whole.names), tuple(whole.edges.shape)) == (4_598, (119_879, 2))
    assert int((whole.edges[:, 0] == whole.edges[:, 1]).sum()) == 110
    assert len(whole.edges.unique()) == 4_589
    assert len(core.names) == 4_051
    assert len(set(whole.names)) == 4_598
    assert whole.edges.dtype == torch.int64


def test_names_and_links_are_those_of_a_plain_reading(home: Path):
    whole = load_wikispeedia(home)
    rows = [line.split("\t") for line in (home / "links.tsv").read_text().splitlines() if line and line[0] != "#"]
    expected = [tuple(unquote(title).replace("_", " ") for title in row) for row in rows]
    assert [(whole.names[a], whole.names[b]) for a, b in whole.edges.tolist()] == expected
    assert {"Éire", "€2 commemorative coins", "Áedán mac Gabráin", "Germany", "Yeast"} <= set(whole.names)


def test_core_is_the_largest_strong_component_of_networkx(home: Path):
    whole, core = load_wikispeedia(home), load_wikispeedia(home, core=True)
    graph = networkx.DiGraph([(whole.names[a], whole.names[b]) for a, b in whole.edges.tolist()])
    inside = max(networkx.strongly_connected_components(graph), key=len)
    assert list(core.names) == [name for name in whole.names if name in inside]
    links = {(core.names[a], core.names[b]) for a, b in core.edges.tolist()}
    assert links == set(graph.subgraph(inside).edges)


def test_hop_counts_are_the_stored_ones(home: Path):
    whole = load_wikispeedia(home)
    graph = HopGraph.from_edges(whole.edges, names=whole.names)
    assert (graph.loops, graph.repeats) == (110, 0)
    links = csr_array((np.ones(len(graph.edges)), graph.edges.T.numpy()), shape=(len(graph), len(graph)))
    rows = np.arange(0, len(graph), 97)
    with np.load(home / "hops_directed_int8.npz") as stored:
        expected = stored["d"][rows]
    found = dijkstra(links, unweighted=True, indices=rows)
    assert np.array_equal(np.where(np.isinf(found), -1, found), expected)


def test_categories(home: Path):
    categories = load_categories(home)
    assert len(categories) == 4_597
    assert sum(map(len, categories.values())) == 5_203
    assert categories["Éire"] == ("subject.Countries", "subject.Geography.European_Geography.European_Countries")
    assert set(categories) <= set(load_wikispeedia(home).names)


def test_walks(home: Path):
    walks = load_walks(home)
    assert len(walks) == 24_875
    assert {walk.reason for walk in walks} == {"timeout", "restart"}
    names = set(load_wikispeedia(home).names)
    off = {step for walk in walks for step in walk.path} - names
    assert off == {"<", "Wikipedia Text of the GNU Free Documentation License"}
    assert (walks[0].seconds, walks[0].path, walks[0].target) == (1804, ("Obi-Wan Kenobi",), "Microsoft")


def test_texts_stream_without_a_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = set(load_wikispeedia(home).names)
    texts = article_text(home)
    first = [next(texts) for _ in range(200)]
    texts.close()
    assert len({name for name, _ in first} & names) == 200
    assert first[0][0] == "Cyrus the Great"
    assert "Persia" in first[0][1]
    assert list(tmp_path.iterdir()) == []


def test_it_is_found_below_hsgeo_data(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HSGEO_DATA", str(home.parent))
    assert load_wikispeedia().names == load_wikispeedia(home).names


# A copy of our own


def test_titles_are_decoded(tmp_path: Path):
    found = load_wikispeedia(folder_with(tmp_path), verify=False)
    assert found.names == ("Éire", "New York", "Paris", "Lonely", "London")
    assert found.edges.tolist() == [[0, 4], [4, 2], [2, 4], [2, 2], [1, 2]]
    core = load_wikispeedia(tmp_path, core=True, verify=False)
    assert (core.names, core.edges.tolist()) == (("Paris", "London"), [[1, 0], [0, 1], [0, 0]])
    assert load_categories(tmp_path)["Éire"] == ("subject.Countries", "subject.Geography.Europe")
    first, second = load_walks(tmp_path, verify=False)
    assert (first.path, first.seconds, first.target) == (("New York", "Paris", "<", "Éire"), 1804, "London")
    assert (second.path, second.target, second.reason) == (("Paris",), "C++", "restart")


def test_the_folder_that_unpacking_by_hand_makes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = tmp_path / "wikispeedia" / "wikispeedia_paths-and-graph"
    inner.mkdir(parents=True)
    folder_with(inner)
    archive_with(tmp_path / "wikispeedia", {"plaintext_articles/Paris.txt": b"A town"})
    monkeypatch.setenv("HSGEO_DATA", str(tmp_path))
    assert find_data_set("wikispeedia") == inner
    for folder in (None, tmp_path / "wikispeedia", inner):
        assert load_wikispeedia(folder, verify=False).names[0] == "Éire"
        assert list(article_text(folder)) == [("Paris", "A town")]


def test_the_cache_is_looked_into_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HSGEO_DATA", raising=False)
    monkeypatch.setenv("HSGEO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    with pytest.raises(FileNotFoundError, match="hsgeo data get wikispeedia"):
        load_wikispeedia()
    place = tmp_path / "wikispeedia"
    place.mkdir()
    folder_with(place)
    assert require_data_set("wikispeedia") == place
    (place / "links.tsv").unlink()
    assert find_data_set("wikispeedia") is None


def test_texts_of_an_archive(tmp_path: Path):
    archive_with(
        tmp_path, {"plaintext_articles/%C3%89ire.txt": "Éire".encode(), "plaintext_articles/A.b.txt": b"\xff!"}
    )
    assert list(article_text(tmp_path)) == [("Éire", "Éire"), ("A.b", "\ufffd!")]


BAD = {
    "other counts": (load_wikispeedia, {}, "4,604 articles and 119,882 links or .*, got 5 and 5"),
    "other count of walks": (load_walks, {}, "expected 24,875 games, got 2"),
    "no articles": (load_wikispeedia, {"articles": "# none\n"}, "got 0 and 0|line 3: expected articles"),
    "an article twice": (
        load_wikispeedia,
        {"articles": "a\nb\na\n"},
        "articles.tsv, line 3: expected each article once",
    ),
    "two titles of one name": (
        load_wikispeedia,
        {"articles": "New_York\nNew%20York\n"},
        "line 2: .* once, got 'New York'",
    ),
    "two columns of articles": (
        load_wikispeedia,
        {"articles": "a\tb\n"},
        "articles.tsv, line 1: expected article, got",
    ),
    "titles in latin-1": (load_wikispeedia, {"articles": "a\n\xc9ire\n"}, "line 2: expected UTF-8, got byte 0xc9"),
    "titles in encoded latin-1": (
        load_wikispeedia,
        {"articles": "a\n%C9ire\n"},
        "line 2: expected percent-encoded UTF-8",
    ),
    "a link to nowhere": (load_wikispeedia, {"links": "#\nParis\tAtlantis\n"}, "links.tsv, line 2: .* got 'Atlantis'"),
    "a link of one end": (load_wikispeedia, {"links": "Paris\n"}, "line 1: expected linkSource, linkTarget"),
    "a link without an end": (load_wikispeedia, {"links": "Paris\t\n"}, "line 1: expected linkSource, linkTarget"),
    "a link of three": (
        load_wikispeedia,
        {"links": "Paris\tParis\tParis\n"},
        "line 1: expected linkSource, linkTarget",
    ),
    "spaces for tabs": (load_wikispeedia, {"links": "Paris London\n"}, "line 1: expected linkSource, linkTarget"),
    "a category short": (
        load_categories,
        {"categories": "Paris\n"},
        "categories.tsv, line 1: expected article, category",
    ),
    "a walk short": (load_walks, {"paths_unfinished": "a\tb\n"}, "line 1: expected hashedIpAddress, timestamp"),
    "a walk in no time": (
        load_walks,
        {"paths_unfinished": "a\t1\tx\tParis\tB\ttimeout\n"},
        "line 1: expected whole seconds",
    ),
    "a negative walk": (
        load_walks,
        {"paths_unfinished": "a\t1\t-4\tParis\tB\ttimeout\n"},
        "line 1: expected whole seconds",
    ),
    "a finished walk": (
        load_walks,
        {"paths_unfinished": "a\t1\t4\tParis\tB\t3\n"},
        "timeout or restart, got '4' and '3'",
    ),
}


@pytest.mark.parametrize(("load", "changed", "said"), BAD.values(), ids=BAD)
def test_bad_tables_are_refused(load: Callable[[Path], object], changed: dict[str, str], said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said) as caught:
        load(folder_with(tmp_path, **changed))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (load_wikispeedia, "articles.tsv"),
        (load_wikispeedia, "links.tsv"),
        (load_categories, "categories.tsv"),
        (load_walks, "paths_unfinished.tsv"),
        (lambda folder: next(article_text(folder)), "plaintext_articles.tar.gz"),
    ],
)
def test_a_missing_file_is_named(load: Callable[[Path], object], file: str, tmp_path: Path):
    folder_with(tmp_path)
    (tmp_path / file).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=file):
        load(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../x.txt", "/plaintext_articles/x.txt", "plaintext_articles/../x.txt", "plaintext_articles/a/x.txt", "x.txt"]
    + ["plaintext_articles/x.sh", "plaintext_articles/%FF.txt"],
)
def test_strange_members_of_the_archive_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match="expected plain files|expected percent-encoded"):
        list(article_text(archive_with(tmp_path, {name: b"x"})))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_the_archive_are_refused(kind: bytes, tmp_path: Path):
    with tarfile.open(tmp_path / "plaintext_articles.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("plaintext_articles/x.txt")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ValueError, match="expected plain files"):
        list(article_text(tmp_path))


@pytest.mark.parametrize("keep", [0, 10, 300, -20])
def test_a_damaged_archive_is_refused(keep: int, tmp_path: Path):
    noise = np.random.default_rng(0).bytes(4096)
    archive_with(tmp_path, {"plaintext_articles/a.txt": noise, "plaintext_articles/b.txt": noise[::-1]})
    file = tmp_path / "plaintext_articles.tar.gz"
    shutil.copy(file, tmp_path / "whole")
    file.write_bytes((tmp_path / "whole").read_bytes()[:keep])
    with pytest.raises(ValueError, match="expected a whole .tar.gz"):
        list(article_text(tmp_path))
