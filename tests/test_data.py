"""The data that the library carries: counts, agreement with the sources, and how damage is reported."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch

from hyperspectral_geo.data import (
    dataset_path,
    load_emoji,
    load_wordnet,
    shared_data_path,
    transitive_closure,
)


def stats_rows(docstring: str | None) -> list[list[str]]:
    """The rows of the STATS table that ends a loader's docstring."""
    table = (docstring or "").split("STATS:")[1]
    rows = [line.split() for line in table.splitlines() if line.strip()]
    ruler = [i for i, row in enumerate(rows) if set(row[0]) == {"="}]
    return [[cell.replace(",", "") for cell in row] for row in rows[ruler[1] + 1 : ruler[2]]]


def named_pairs(names: tuple[str, ...], edges: torch.Tensor) -> set[tuple[str, str]]:
    return {(names[child], names[up]) for child, up in edges.tolist()}


@pytest.fixture(scope="module")
def nouns():
    return load_wordnet("nouns")


@pytest.fixture
def wordnet_copy(tmp_path):
    return Path(shutil.copytree(dataset_path("wordnet"), tmp_path / "wordnet"))


@pytest.fixture
def emoji_copy(tmp_path):
    return Path(shutil.copytree(dataset_path("emoji"), tmp_path / "emoji"))


# WordNet


def test_wordnet_has_the_counts_of_its_docstring(nouns):
    rows = stats_rows(load_wordnet.__doc__)
    assert [row[0] for row in rows] == ["mammals", "nouns"]
    for part, *counts in rows:
        full = nouns if part == "nouns" else load_wordnet(part)
        direct = load_wordnet(part, closure=False)
        assert [len(full.names), len(direct.edges), len(full.edges)] == [int(count) for count in counts]
        assert direct.names == full.names


def test_wordnet_has_the_published_counts(nouns):
    assert (len(nouns.names), len(nouns.edges)) == (82_115, 743_241)
    mammals = load_wordnet("mammals")
    assert (len(mammals.names), len(mammals.edges)) == (1_180, 6_540)


def test_wordnet_names_are_those_of_nltk(nouns):
    """Known names: a later sense, an instance, an apostrophe; every name once."""
    assert {"dog.n.01", "whole.n.02", "abstraction.n.06", "einstein.n.01", "fielder's_choice.n.01"} <= set(nouns.names)
    assert len(set(nouns.names)) == len(nouns.names)
    ancestors = nouns.edges[nouns.edges[:, 0] == nouns.names.index("dog.n.01"), 1].tolist()
    assert {"animal.n.01", "domestic_animal.n.01", "entity.n.01"} <= {nouns.names[up] for up in ancestors}


def test_edges_are_sorted_int64_without_repetition(nouns):
    for hierarchy in (
        nouns,
        load_wordnet("nouns", closure=False),
        load_wordnet("mammals"),
        load_wordnet(closure=False),
    ):
        assert hierarchy.edges.dtype == torch.int64
        keys = hierarchy.edges[:, 0] * len(hierarchy.names) + hierarchy.edges[:, 1]
        assert (keys.diff() > 0).all()


def test_mammals_are_the_nouns_below_mammal(nouns):
    mammal = nouns.names.index("mammal.n.01")
    below = nouns.edges[nouns.edges[:, 1] == mammal, 0].tolist()
    left_out = {nouns.names.index("tusker.n.01"), nouns.names.index("female_mammal.n.01")}
    inside = torch.zeros(len(nouns.names), dtype=torch.bool)
    inside[[mammal, *(set(below) - left_out)]] = True
    derived = nouns.edges[inside[nouns.edges].all(dim=1)]
    mammals = load_wordnet("mammals")
    assert named_pairs(nouns.names, derived) == named_pairs(mammals.names, mammals.edges)


def test_closure_of_the_direct_mammals_is_the_vendored_closure():
    direct, full = load_wordnet("mammals", closure=False), load_wordnet("mammals")
    assert torch.equal(transitive_closure(direct.edges, len(direct.names)), full.edges)


def test_nouns_load_within_three_seconds():
    start = time.process_time()
    load_wordnet("nouns")
    assert time.process_time() - start < 3


@pytest.mark.parametrize("seed", range(5))
def test_closure_agrees_with_networkx(seed):
    generator = np.random.default_rng(seed)
    pairs = generator.integers(0, 40, size=(70, 2))
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)[:, ::-1].copy()  # child > parent: no cycle
    expected = sorted(networkx.transitive_closure(networkx.DiGraph(pairs.tolist())).edges)
    assert transitive_closure(torch.from_numpy(pairs), 40).tolist() == [list(edge) for edge in expected]


def test_closure_of_no_edges_is_empty():
    assert transitive_closure(torch.zeros(0, 2, dtype=torch.int64), 3).shape == (0, 2)
    assert transitive_closure(torch.zeros(0, 2, dtype=torch.int64), 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("edges", "message"),
    [([[0, 1], [1, 2], [2, 0]], "cycle"), ([[1, 1]], "cycle"), ([[0, 3]], "from 0 to 2"), ([[-1, 0]], "from 0 to 2")],
)
def test_closure_refuses_what_is_no_hierarchy(edges, message):
    with pytest.raises(ValueError, match=message):
        transitive_closure(torch.tensor(edges), 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("edges", [torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)])
def test_closure_refuses_other_shapes_and_dtypes(edges):
    with pytest.raises(ValueError, match="expected integers of shape"):
        transitive_closure(edges, 3)


def test_mammals_agree_with_the_published_filter(nouns, shared_data):
    """Among the noun pairs below mammal.n.01, the published filter drops the two synsets that we leave out."""
    published = re.compile("|".join((shared_data("wordnet") / "mammals_filter.txt").read_text().split()))
    mammal = nouns.names.index("mammal.n.01")
    inside = torch.zeros(len(nouns.names), dtype=torch.bool)
    inside[nouns.edges[nouns.edges[:, 1] == mammal, 0]] = True
    inside[mammal] = True
    pairs = named_pairs(nouns.names, nouns.edges[inside[nouns.edges].all(dim=1)])
    kept = {pair for pair in pairs if not published.search("\t".join(pair))}
    mammals = load_wordnet("mammals")
    assert kept == named_pairs(mammals.names, mammals.edges)


def test_direct_edges_agree_with_wordnets_own_file(nouns, shared_data):
    """Synsets in the order of data.noun, with as many hypernym pointers as that file has."""
    lines = gzip.decompress((shared_data("wordnet") / "data.noun.gz").read_bytes()).decode("ascii").splitlines()
    synsets = [line.split(" | ")[0].split() for line in lines if not line.startswith(" ")]
    row = {fields[0]: i for i, fields in enumerate(synsets)}
    assert [fields[4].lower() for fields in synsets] == [name.rsplit(".", 2)[0] for name in nouns.names]
    pointers = {
        (row[fields[0]], row[offset])
        for fields in synsets
        for symbol, offset in pairwise(fields)
        if symbol in ("@", "@i")
    }
    assert pointers == {(child, up) for child, up in load_wordnet("nouns", closure=False).edges.tolist()}


@pytest.mark.usefixtures("unchecked")
def test_wordnet_refuses_another_part():
    with pytest.raises(ValueError, match="expected 'mammals' or 'nouns', got 'verbs'"):
        load_wordnet("verbs")  # pyright: ignore[reportArgumentType]


def test_wordnet_names_a_missing_file(tmp_path):
    for part, name in (("nouns", "nouns.tsv.gz"), ("mammals", "mammals.tsv")):
        with pytest.raises(FileNotFoundError, match=rf"{re.escape(name)}.*make_wordnet"):
            load_wordnet(part, folder=tmp_path)


def test_wordnet_refuses_a_truncated_file(wordnet_copy):
    path = wordnet_copy / "nouns.tsv.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"nouns\.tsv\.gz: expected readable text"):
        load_wordnet("nouns", folder=wordnet_copy)


@pytest.mark.parametrize("flip", [0, 5_000, 300_000])
def test_wordnet_refuses_a_flipped_byte(wordnet_copy, flip):
    path = wordnet_copy / "nouns.tsv.gz"
    content = bytearray(path.read_bytes())
    content[flip] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="nouns"):
        load_wordnet("nouns", folder=wordnet_copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\nc\n", "line 2: expected child<TAB>ancestor, got 1 fields"),
        ("a\tb\tc\n", "line 1: expected child<TAB>ancestor, got 3 fields"),
        ("\n", "got an empty file"),
        ("\udcff", "expected readable text"),
    ],
)
def test_wordnet_names_the_damaged_line_of_the_mammals(wordnet_copy, content, message):
    (wordnet_copy / "mammals.tsv").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        load_wordnet("mammals", folder=wordnet_copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\nb\ta\nb\ta\n", "expected every synset once"), ("a\nb\tnot_there\n", "line 2: expected a known hypernym")],
)
def test_wordnet_refuses_inconsistent_nouns(wordnet_copy, content, message):
    (wordnet_copy / "nouns.tsv.gz").write_bytes(gzip.compress(content.encode()))
    with pytest.raises(ValueError, match=message):
        load_wordnet("nouns", folder=wordnet_copy)


# Emoji


def test_emoji_has_the_counts_of_its_docstring():
    emoji = load_emoji()
    (row,) = stats_rows(load_emoji.__doc__)
    counted = [
        len(emoji.labels),
        emoji.image.shape[1],
        emoji.text.shape[1],
        len(set(emoji.categories)),
        len(set(emoji.subcategories)),
    ]
    assert counted == [int(cell) for cell in row[:5]]
    assert sum(map(len, emoji.tags)) / len(emoji.tags) == pytest.approx(float(row[5]), abs=0.05)


def test_emoji_is_well_formed():
    emoji = load_emoji()
    assert emoji.image.dtype == emoji.text.dtype == torch.float32
    assert emoji.image.min() >= 0
    assert emoji.image.max() <= 6  # the network ends in ReLU6
    torch.testing.assert_close(emoji.text.norm(dim=1), torch.ones(1906), atol=1e-3, rtol=0)
    assert len(set(emoji.labels)) == len(set(emoji.files)) == 1906
    columns = (emoji.image, emoji.text, emoji.labels, emoji.tags, emoji.categories, emoji.subcategories, emoji.files)
    assert {len(column) for column in columns} == {1906}
    assert all(emoji.tags)


def test_emoji_agrees_with_the_shared_copy(shared_data):
    folder = shared_data("emoji")
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    emoji = load_emoji()
    assert emoji.files == tuple(pair["image"] for pair in pairs)
    assert emoji.labels == tuple(pair["label"] for pair in pairs)
    assert emoji.tags == tuple(tuple(pair["tags"]) for pair in pairs)
    assert emoji.categories == tuple(pair["category"] for pair in pairs)
    assert emoji.subcategories == tuple(pair["subcategory"] for pair in pairs)
    with np.load(folder / "feats_effnetlite0_minilm.npz", allow_pickle=False) as features:
        # Computed on two machines: equal but for the last bit of float16.
        np.testing.assert_allclose(emoji.image.numpy(), features["img"].astype(np.float32), rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(emoji.text.numpy(), features["txt"].astype(np.float32), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["captions.json", "image_features.npz", "text_features.npz"])
def test_emoji_names_a_missing_file(emoji_copy, name):
    (emoji_copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(name)}.*make_emoji"):
        load_emoji(folder=emoji_copy)


@pytest.mark.parametrize("name", ["captions.json", "image_features.npz", "text_features.npz"])
@pytest.mark.parametrize("kept", [0, 100, 200_000])
def test_emoji_refuses_a_truncated_file(emoji_copy, name, kept):
    path = emoji_copy / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=re.escape(name)):
        load_emoji(folder=emoji_copy)


def test_emoji_refuses_a_damaged_archive(emoji_copy):
    path = emoji_copy / "image_features.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image_features\.npz"):
        load_emoji(folder=emoji_copy)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((3, 1280), np.float16), "of 1906 rows"),
        (np.zeros((1906, 1280), np.int8), "floating-point"),
        (np.full((1906, 1280), np.nan, np.float16), "finite"),
        (np.array([{"a": 1}], dtype=object), "allow_pickle"),
    ],
)
def test_emoji_refuses_features_that_do_not_belong(emoji_copy, features, message):
    np.savez_compressed(emoji_copy / "image_features.npz", features=features)
    with pytest.raises(ValueError, match=message):
        load_emoji(folder=emoji_copy)


def test_emoji_refuses_an_archive_without_features(emoji_copy):
    np.savez_compressed(emoji_copy / "text_features.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match="array 'features'"):
        load_emoji(folder=emoji_copy)


@pytest.mark.parametrize("content", ["{}", "[]", "[1]", '[{"image": "x.png"}]', '[{"image": 3}]'])
def test_emoji_refuses_captions_that_lack_a_column(emoji_copy, content):
    (emoji_copy / "captions.json").write_text(content)
    with pytest.raises(ValueError, match=r"captions\.json"):
        load_emoji(folder=emoji_copy)


# Where the data lie


@pytest.mark.parametrize("folder", ["wordnet", "emoji"])
def test_every_data_set_comes_with_licence_and_stats(folder):
    for name in ("LICENSE", "STATS.md"):
        assert (dataset_path(folder) / name).read_text(encoding="utf-8").strip()
    assert (dataset_path(f"make_{folder}.py")).is_file()
    assert all(path.stat().st_size < 3_000_000 for path in dataset_path(folder).iterdir())


def test_datasets_is_no_package():
    """An __init__.py there would shadow the well-known package of that name."""
    assert not list(dataset_path("wordnet").parent.rglob("__init__.py"))


@pytest.mark.parametrize("find", [dataset_path, shared_data_path])
@pytest.mark.parametrize("name", ["", "/etc", "../tests", "wordnet/../../tests"])
def test_names_stay_inside(find, name):
    with pytest.raises(ValueError, match="relative path inside"):
        find(name)


def test_a_missing_data_set_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match=r"_datasets.*datasets.*make_\*"):
        dataset_path("no_such_set")


def test_shared_data_needs_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("HSGEO_DATA", raising=False)
    assert shared_data_path("kg", required=False) is None
    with pytest.raises(FileNotFoundError, match="an unset variable; set HSGEO_DATA"):
        shared_data_path("kg")
    monkeypatch.setenv("HSGEO_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="got no .*kg"):
        shared_data_path("kg")
    (tmp_path / "kg").mkdir()
    assert shared_data_path("kg") == tmp_path / "kg"


def test_finding_a_file_costs_no_torch():
    code = "import sys, hyperspectral_geo.data as d; d.dataset_path('emoji'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_are_attribute_errors():
    import hyperspectral_geo.data as data

    assert set(data.__all__) <= set(dir(data))
    assert all(getattr(data, name) for name in data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        data.nothing  # noqa: B018


# The scripts beside the data


def test_wordnet_script_gives_the_vendored_files(shared_data, tmp_path):
    """From WordNet's own data.noun and an index rebuilt from the vendored names."""
    source = shared_data("wordnet") / "data.noun.gz"
    lines = gzip.decompress(source.read_bytes()).decode("ascii").splitlines()
    offsets = [line.split(" ", 1)[0] for line in lines if not line.startswith(" ")]
    # One index line a sense is enough for the script: earlier senses are filled with offsets that no synset has.
    index = tmp_path / "index.noun"
    names = [name.rsplit(".", 2) for name in load_wordnet("nouns", closure=False).names]
    senses: dict[str, dict[int, str]] = {}
    for (lemma, _, number), offset in zip(names, offsets, strict=True):
        senses.setdefault(lemma, {})[int(number)] = offset
    index.write_text(
        "".join(
            f"{lemma} n {max(known)} 0 {max(known)} 0 "
            + " ".join(known.get(number, "-") for number in range(1, max(known) + 1))
            + "\n"
            for lemma, known in senses.items()
        )
    )
    script = dataset_path("make_wordnet.py")
    out = tmp_path / "out"
    command = [sys.executable, "-B", str(script), str(source), "--index", str(index), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["LICENSE", "STATS.md", "mammals.tsv", "nouns.tsv.gz"]
    for path in out.iterdir():
        assert path.read_bytes() == (dataset_path("wordnet") / path.name).read_bytes(), path.name
