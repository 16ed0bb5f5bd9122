"""``hsgeo explore`` from a model to a page, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from hyperspectral_geo.cli.hop_sources import read_hop_graph
from hyperspectral_geo.hyperbolic import HopEmbedding, LinkSoftmax, fit, nearest
from hyperspectral_geo.hyperbolic.provenance import Provenance

Hsgeo = Callable[..., int]


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-way world of 40 towns, and a village from which a road leads but to which none does."""
    graph = nx.connected_watts_strogatz_graph(40, 4, 0.2, seed=1)
    arcs = [*graph.edges, *((i, (i + 1) % 40) for i in range(40)), ("village", 3)]
    path = tmp_path_factory.mktemp("links") / "links.tsv"
    path.write_text("".join(f"town {a}\ttown {b}\n" for a, b in arcs))
    return path


@pytest.fixture(scope="module")
def model(links: Path) -> Path:
    """What 150 steps in four dimensions make of it."""
    graph = read_hop_graph(str(links))
    return replace(fit(graph, dim=4, steps=150), provenance=Provenance.of(graph, "hops")).save(
        links.with_name("m.safetensors")
    )


def record(page: Path) -> dict[str, Any]:
    """The atlas inside a page."""
    block = re.search(r'<script id="atlas" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert block is not None
    return json.loads(block[1])


def column(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def nearest_numbers(packed: dict[str, str], n: int) -> np.ndarray:
    planes = np.frombuffer(column(packed["numbers"]), np.uint8).reshape(4, -1).astype(np.int64)
    return (planes << (8 * np.arange(4)[:, None])).sum(0).reshape(-1, n).T


def test_a_page_holds_what_the_model_says(
    hsgeo: Hsgeo, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "page.html"
    assert hsgeo("explore", model, "-o", out) == 0
    assert re.fullmatch(
        r".*page.html: 41 concepts, 0\.\d\d MB; rings are 0\.\d+ hops off on average\n", capsys.readouterr().out
    )
    found, made = record(out), HopEmbedding.load(model)
    assert found["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (found["title"], found["points"], found["groups"], found["links"]) == ("m", 41, [], None)
    assert tuple(json.loads(column(found["names"]))) == made.names
    for side, direction in (("onward", "out"), ("backward", "in")):
        numbers = nearest(made, torch.arange(41), 12, direction=direction)[1]
        assert np.array_equal(nearest_numbers(found[side], 41), numbers.numpy())
    again = tmp_path / "again.html"
    assert hsgeo("explore", model, "-o", again) == 0
    assert again.read_bytes() == out.read_bytes()


def test_groups_links_and_title_are_shown(hsgeo: Hsgeo, model: Path, links: Path, tmp_path: Path):
    groups = tmp_path / "groups.tsv"
    groups.write_text("# a comment\ntown 1\teast\ntown 2\twest\ntown 1\tnorth\ntown 3\teast\nelsewhere\tnowhere\n")
    out = tmp_path / "page.html"
    assert hsgeo("explore", model, "-o", out, "--groups", groups, "--graph", links, "--title", "A <b> & c") == 0
    found = record(out)
    names = json.loads(column(found["names"]))
    shown = dict(zip(names, column(found["group"]), strict=True))
    assert (found["title"], found["groups"]) == ("A <b> & c", ["east", "west"])
    assert [shown[f"town {i}"] for i in range(1, 5)] == [0, 1, 0, 255]
    village = names.index("town village")
    assert village not in nearest_numbers(found["onward"], 41)
    assert village in nearest_numbers(found["backward"], 41)


def test_a_model_without_directions_has_one_list(hsgeo: Hsgeo, links: Path, tmp_path: Path):
    graph = read_hop_graph(str(links), directed=False)
    made = fit(graph, dim=2, steps=30, objective=LinkSoftmax()).save(tmp_path / "u.safetensors")
    out = tmp_path / "page.html"
    assert hsgeo("explore", made, "-o", out) == 0
    found = record(out)
    assert found["backward"] is None
    assert nearest_numbers(found["onward"], 41).shape == (41, 24)


def test_training_on_both_directions_gives_one_list(hsgeo: Hsgeo, links: Path, tmp_path: Path):
    made = tmp_path / "u.safetensors"
    assert hsgeo("hops", "train", links, "-o", made, "--dim", 3, "--steps", 60, "--undirected") == 0
    model = HopEmbedding.load(made)
    assert model.outgoing is not None  # scalars, trained apart, that differ by rounding at most
    assert hsgeo("explore", made, "-o", tmp_path / "page.html", "--graph", links) == 0
    assert record(tmp_path / "page.html")["backward"] is None


ISLANDS = [(f"big {i}", f"big {j % 60}") for i in range(60) for j in (i + 1, 5 * i + 2)]
ISLANDS += [(f"isle {i}", f"isle {j % 9}") for i in range(9) for j in (i + 1, 4 * i + 2)]
TREE = [(f"node {i}", f"node {(i - 1) // 2}") for i in range(1, 70)]


@pytest.mark.parametrize("arcs", [ISLANDS, TREE], ids=["islands", "tree"])
def test_lists_hold_what_a_way_leads_to_and_the_models_own_hops(hsgeo: Hsgeo, tmp_path: Path, arcs: list):
    links, out = tmp_path / "links.tsv", tmp_path / "page.html"
    links.write_text("".join(f"{a}\t{b}\n" for a, b in arcs if a != b))
    graph = read_hop_graph(str(links))
    made = replace(fit(graph, dim=4, steps=200), provenance=Provenance.of(graph, "hops"))
    assert hsgeo("explore", made.save(tmp_path / "m.safetensors"), "-o", out, "--graph", links) == 0
    found, n = record(out), len(graph)
    ways, hops = nx.DiGraph(graph.edges.tolist()), made.distances().numpy()
    low, high = found["hopRange"]
    for side, reach, table in (("onward", nx.descendants, hops), ("backward", nx.ancestors, hops.T)):
        numbers = nearest_numbers(found[side], n)
        steps = np.frombuffer(column(found[side]["rises"]), np.uint8).reshape(-1, n).T.astype(int).cumsum(1)
        shown = low + steps / 255 * (high - low)
        assert np.abs(shown - np.take_along_axis(table, numbers, 1)).max() <= (high - low) / 509
        for i in range(n):
            reached = reach(ways, i)
            best = sorted(reached, key=lambda j: table[i, j])[: numbers.shape[1]]
            assert set(best) <= set(numbers[i])


def test_wikispeedias_subjects_are_groups(
    hsgeo: Hsgeo, shared_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HSGEO_DATA", str(shared_data("wikispeedia").parent))
    names = ("Beer", "Germany", "Isaac Newton", "Yeast", "no article")
    made = HopEmbedding(names, torch.randn(5, 3)).save(tmp_path / "m.safetensors")
    assert hsgeo("explore", made, "-o", tmp_path / "page.html", "--groups", "wikispeedia") == 0
    found = record(tmp_path / "page.html")
    groups = [found["groups"][i] if i < 255 else None for i in column(found["group"])]
    assert groups == ["Everyday life", "Countries", "People", "Everyday life", None]


BAD = {
    "a model that is none": (["{missing}", "-o", "{out}"], "expected a saved hop embedding, got no such file"),
    "a file of another kind": (["{links}", "-o", "{out}"], "links.tsv"),
    "a picture": (["{model}", "-o", "{out}.png"], "--out: expected a name that ends in .html"),
    "no folder": (["{model}", "-o", "{missing}/page.html"], "--out: expected a file in an existing folder"),
    "groups that are none": (["{model}", "-o", "{out}", "--groups", "{missing}.tsv"], "none"),
    "groups of others": (
        ["{model}", "-o", "{out}", "--groups", "{links}"],
        "--groups: expected names of the 41 concepts",
    ),
    "groups without groups": (
        ["{model}", "-o", "{out}", "--groups", "{bare}"],
        "line 2: expected a concept and its group",
    ),
    "a graph of others": (
        ["{model}", "-o", "{out}", "--graph", "{other}"],
        "expected an embedding of the graph's nodes",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_shown_is_refused(
    hsgeo: Hsgeo,
    model: Path,
    links: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
):
    places = {
        "model": model,
        "links": tmp_path / "links.tsv",
        "missing": tmp_path / "missing",
        "out": tmp_path / "page.html",
    }
    places |= {"bare": tmp_path / "bare.tsv", "other": tmp_path / "other.tsv"}
    places["links"].write_text("x\ty\n")
    places["bare"].write_text("town 1\tx\ntown 2\n")
    places["other"].write_text("a\tb\n")
    assert hsgeo("explore", *(argument.format(**places) for argument in arguments)) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("*.html"))
