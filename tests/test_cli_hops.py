"""``hsgeo hops`` from a file of links to neighbours, ways, exports and pictures, and what is refused."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import networkx as nx
import pytest
import torch

from hyperspectral_geo.cli.hop_sources import GRAPHS, read_hop_graph
from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import HopEmbedding, HopRegression, fit, hop_counts
from hyperspectral_geo.hyperbolic.hop_scores import hop_scores
from hyperspectral_geo.hyperbolic.metrics import reconstruction
from hyperspectral_geo.hyperbolic.neighbors import neighbors
from hyperspectral_geo.hyperbolic.provenance import Provenance
from hyperspectral_geo.hyperbolic.splits import held_out_pairs

Hsgeo = Callable[..., int]


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world of 30 towns, some of whose roads are one-way."""
    graph = nx.connected_watts_strogatz_graph(30, 4, 0.2, seed=1)
    arcs = list(graph.edges) + [(b, a) for a, b in list(graph.edges)[::2]] + [(i, (i + 1) % 30) for i in range(30)]
    path = tmp_path_factory.mktemp("links") / "links.tsv"
    path.write_text("".join(f"town {a}\ttown {b}\n" for a, b in arcs))
    return path


@pytest.fixture(scope="module")
def model(links: Path) -> Path:
    """What 200 steps in two dimensions make of it, a fifth of the pairs held out."""
    graph = read_hop_graph(str(links))
    held = held_out_pairs(len(graph), 0.2, seed=3)
    made = fit(graph, dim=2, steps=200, seed=3, objective=HopRegression(held=held.mask))
    made = replace(made, provenance=Provenance.of(graph, "hops", hold_out=0.2, seed=3))
    return made.save(links.with_name("model.safetensors"))


def test_train_does_what_fit_does(hsgeo: Hsgeo, links: Path, model: Path, tmp_path: Path, capsys):
    out, log = tmp_path / "m.safetensors", tmp_path / "log.jsonl"
    options = ["--dim", 2, "--steps", 200, "--seed", 3, "--hold-out", 0.2]
    assert hsgeo("hops", "train", links, "-o", out, "--log", log, *options) == 0
    assert out.read_bytes() == model.read_bytes()
    said = capsys.readouterr()
    assert "m.safetensors: 30 concepts, hyperbolic, 2 dimensions, 6 numbers each" in said.out
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(10, 201, 10))
    assert hsgeo("hops", "train", links, "-o", out, *options[:-2]) == 0
    assert out.read_bytes() != model.read_bytes()


@pytest.mark.parametrize(
    ("options", "two_points", "scalars", "geometry"),
    [
        ([], True, True, "hyperbolic"),
        (["--one-point"], False, True, "hyperbolic"),
        (["--undirected"], False, True, "hyperbolic"),
        (["--undirected", "--two-points", "--geometry", "euclidean"], True, True, "euclidean"),
        (["--objective", "links", "--learning-rate", "0.05"], False, False, "hyperbolic"),
    ],
)
def test_train_has_the_parts_that_are_asked_for(
    hsgeo: Hsgeo, links: Path, tmp_path: Path, options: list[str], two_points: bool, scalars: bool, geometry: str
):
    out = tmp_path / "m.safetensors"
    assert hsgeo("hops", "train", links, "-o", out, "--dim", 3, "--steps", 5, *options) == 0
    made = HopEmbedding.load(out)
    assert (made.targets is not None, made.outgoing is not None) == (two_points, scalars)
    assert (made.geometry, made.tangents.shape) == (geometry, (30, 3))


def test_eval_judges_on_the_pairs_held_out(hsgeo: Hsgeo, links: Path, model: Path, tmp_path: Path, capsys):
    out = tmp_path / "scores.json"
    arguments = ["hops", "eval", model, links, "--routes", 100, "--json", out]
    assert hsgeo(*arguments) == 0
    found = json.loads(out.read_text())
    graph, made = read_hop_graph(str(links)), HopEmbedding.load(model)
    held = held_out_pairs(30, 0.2, seed=3)
    assert found["hops"] == pytest.approx(hop_scores(made, hop_counts(graph), held=held).as_dict())
    assert found["hops"]["pairs"] == int(held.mask().sum())
    assert found["greedy routes"]["pairs"] == 100
    assert found["hyperbolicity"]["low"] <= found["hyperbolicity"]["mean_delta"] <= found["hyperbolicity"]["high"]
    shown = capsys.readouterr().out
    assert "the pairs held out from training, a share of 0.2 drawn by seed 3" in shown
    assert f"{found['hops']['r2']:.4f}" in shown
    assert hsgeo(*arguments, "--sources", 7, "--hold-out", 0, "--seed", 8) == 0
    assert json.loads(out.read_text())["hops"]["pairs"] == 7 * 29


def test_eval_of_a_link_model_reconstructs(hsgeo: Hsgeo, tmp_path: Path, capsys):
    out, scores = tmp_path / "m.safetensors", tmp_path / "scores.json"
    assert hsgeo("hops", "train", "wordnet-mammals", "-o", out, "--steps", 20, "--dim", 2) == 0
    assert hsgeo("hops", "eval", out, "wordnet-mammals", "--json", scores) == 0
    graph = read_hop_graph("wordnet-mammals", closure=True)
    expected = reconstruction(HopEmbedding.load(out), graph)
    assert json.loads(scores.read_text())["links"]["mean_rank"] == pytest.approx(expected.mean_rank)
    assert hsgeo("hops", "eval", out, "wordnet-mammals", "--sources", 50, "--json", scores) == 0
    assert hsgeo("hops", "plot", out, "-o", tmp_path / "disk.png", "--graph", "wordnet-mammals") == 0
    assert (tmp_path / "disk.png").read_bytes().startswith(b"\x89PNG")


def test_neighbors_and_distance_print_what_the_model_says(hsgeo: Hsgeo, model: Path, capsys):
    made = HopEmbedding.load(model)
    for option, direction in (([], "out"), (["--into"], "in")):
        assert hsgeo("hops", "neighbors", model, "town 3", "-k", 4, *option) == 0
        lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
        expected = neighbors(made, "town 3", 4, direction=direction)
        assert lines == [[f"{near.distance:.3f}", near.name] for near in expected]
    assert hsgeo("hops", "distance", model, "town 3", "town 9") == 0
    assert float(capsys.readouterr().out) == pytest.approx(made.distance("town 3", "town 9"), abs=1e-4)


def test_path_follows_links(hsgeo: Hsgeo, links: Path, model: Path, capsys):
    graph = read_hop_graph(str(links))
    for source, target in (("town 0", "town 1"), ("town 2", "town 17"), ("town 5", "town 5")):
        code = hsgeo("hops", "path", model, links, source, target)
        way, said = capsys.readouterr().out.splitlines()
        names = way.split(" → ")
        assert all(graph.has_links(*(torch.tensor(graph.names.index(n)) for n in p)) for p in pairwise(names))
        least = hop_counts(graph)[graph.names.index(source), graph.names.index(target)]
        assert said.startswith(f"{len(names) - 1} links, ")
        assert said.endswith(f"the shortest way has {least}")
        assert code == (0 if names[-1] == target else 1)
    assert hsgeo("hops", "path", model, links, "town 0", "town 15", "--most", 1) == 1
    assert "1 links, too long" in capsys.readouterr().out


def test_weights_are_read_where_the_graph_has_them(hsgeo: Hsgeo, tmp_path: Path, capsys):
    file, out = tmp_path / "causes.tsv", tmp_path / "m.safetensors"
    file.write_text("rain\twet\t0.9\nwet\tskid\t0.2\nrain\tskid\t0.01\n")
    weighted = ["--weights", "probability"]
    assert hsgeo("hops", "train", file, "-o", out, "--steps", 300, "--dim", 2, *weighted) == 0
    assert hsgeo("hops", "eval", out, file, *weighted) == 0
    assert "r2" in capsys.readouterr().out
    assert hsgeo("hops", "path", out, file, "rain", "skid") == 0
    said = "1 links of length 4.605, arrived; the shortest way has length 1.715"
    assert capsys.readouterr().out.splitlines() == ["rain → skid", said]
    assert hsgeo("hops", "plot", out, "-o", tmp_path / "x.png", "--hops", "--graph", file) == 2
    assert "--hops: expected a graph whose links are hops, got lengths" in " ".join(capsys.readouterr().err.split())
    assert hsgeo("hops", "train", file, "-o", out) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "causes.tsv, line 1" in said
    assert "(--weights)" in said


@pytest.mark.parametrize("format", ["word2vec", "word2vec-binary", "projector", "parquet"])
def test_every_export_is_written(hsgeo: Hsgeo, model: Path, tmp_path: Path, format: str, capsys):
    for option in ([], ["--poincare"]):
        out = tmp_path / f"out{len(option)}"
        assert hsgeo("hops", "export", model, out, "--format", format, *option) == 0
        assert f"{out}: 30 concepts" in capsys.readouterr().out
    contents = [p.read_bytes() if p.is_file() else (p / "tensors.tsv").read_bytes() for p in sorted(tmp_path.iterdir())]
    assert contents[0] != contents[1]


@pytest.mark.parametrize("graph", [False, True])
def test_pictures(hsgeo: Hsgeo, links: Path, model: Path, tmp_path: Path, graph: bool):
    given = ["--graph", links] if graph else []
    assert hsgeo("hops", "plot", model, "-o", tmp_path / "disk.png", *given) == 0
    assert hsgeo("hops", "plot", model, "-o", tmp_path / "hops.png", "--hops", *given) == (0 if graph else 2)
    assert len(list(tmp_path.iterdir())) == 1 + graph


def test_a_run_is_taken_up_again(hsgeo: Hsgeo, links: Path, tmp_path: Path, capsys):
    out, state, log = tmp_path / "m.safetensors", tmp_path / "state", tmp_path / "log.jsonl"
    command = ["hops", "train", links, "--steps", 20, "--dim", 2, "--checkpoint", state, "-o", out, "--log", log]
    assert hsgeo(*command) == 0
    first = out.read_bytes()
    out.unlink()
    assert hsgeo(*command) == 2
    assert "of an earlier run; resume it" in " ".join(capsys.readouterr().err.split())
    assert hsgeo(*command, "--resume") == 0
    assert out.read_bytes() == first
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [10, 20]
    assert hsgeo(*command, "--resume", "--seed", 1) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "another graph, objective or setting; pass another checkpoint folder, or what it was begun with" in said
    assert "(seed: 0, not 1)" in said
    assert "readable" not in said


# Graphs by name, file and folder


def test_named_graphs(shared_data):
    assert read_hop_graph("wordnet-mammals", closure=True).edges.tolist() == load_wordnet("mammals").edges.tolist()
    assert len(read_hop_graph("wordnet-mammals").edges) == 1180
    shared_data("wikispeedia")
    core = read_hop_graph("wikispeedia-core", directed=False)
    assert (len(core), core.directed) == (4051, False)


def test_a_file_and_a_folder_of_dumps(tmp_path: Path):
    with gzip.open(tmp_path / "links.csv.gz", "wt") as file:
        file.write("source,target,probability\na,b,0.5\nb,c,0.25\n")
    graph = read_hop_graph(str(tmp_path / "links.csv.gz"), weights="probability")
    assert graph.lengths.tolist() == pytest.approx([0.6931, 1.3863], abs=1e-4)
    dumps = tmp_path / "wiki"
    dumps.mkdir()
    tables = {
        "page": "(page_id int, page_namespace int, page_title text, page_is_redirect int)",
        "redirect": "(rd_from int, rd_namespace int, rd_title text, rd_interwiki text)",
        "pagelinks": "(pl_from int, pl_namespace int, pl_title text)",
    }
    rows = {"page": "(1,0,'A',0),(2,0,'B_C',0),(3,0,'D',1)", "redirect": "(3,0,'B_C','')", "pagelinks": "(1,0,'D')"}
    for table, columns in tables.items():
        text = f"CREATE TABLE {table} {columns};INSERT INTO {table} VALUES {rows[table]};"
        (dumps / f"{table}.sql").write_text(text)
    graph = read_hop_graph(str(dumps))
    assert (graph.names, graph.edges.tolist()) == (("A", "B C"), [[0, 1]])


BAD = {
    "no such graph": (["train", "wikispedia", "-o", "{new}"], f"wikispedia: expected {', '.join(GRAPHS)}"),
    "no folder": (["train", "{links}", "-o", "{tmp}/no/m.safetensors"], "--out: expected a file in an existing folder"),
    "a folder": (["train", "{links}", "-o", "{tmp}"], "--out: expected a file in an existing folder"),
    "resume what": (["train", "{links}", "-o", "{new}", "--resume"], "--resume: expected --checkpoint DIR"),
    "objective": (["train", "{links}", "-o", "{new}", "--objective", "x"], "--objective: expected hops or links"),
    "geometry": (["train", "{links}", "-o", "{new}", "--geometry", "flat"], "geometry: expected one of 'hyperbolic'"),
    "rate": (["train", "{links}", "-o", "{new}", "--learning-rate", "-1"], "learning_rate: expected a finite number"),
    "held out of links": (
        ["train", "{links}", "-o", "{new}", "--objective", "links", "--hold-out", "0.1"],
        "--hold-out: expected with --objective hops",
    ),
    "forms of links": (
        ["train", "{links}", "-o", "{new}", "--objective", "links", "--forms"],
        "--forms: expected with --objective hops, got links",
    ),
    "tree without directions": (
        ["train", "{links}", "-o", "{new}", "--objective", "tree", "--undirected"],
        "--undirected: expected links from child to parent",
    ),
    "certain of names": (["train", "taxonomy", "-o", "{new}", "--certain", "0.9"], "--certain: expected a file of"),
    "all held out": (["train", "{links}", "-o", "{new}", "--hold-out", "1"], "share: expected a number from 0 to be"),
    "weights": (["train", "wordnet-mammals", "-o", "{new}", "--weights", "length"], "--weights: expected a file"),
    "no model": (["distance", "{tmp}/none", "a", "b"], "none: expected a saved hop embedding, got no such file"),
    "scores in a folder": (["eval", "{model}", "{links}", "--json", "{tmp}"], "--json: expected a file in"),
    "a table in a folder": (
        ["export", "{model}", "{tmp}", "--format", "parquet"],
        "expected a file to write, got a fo",
    ),
    "vectors in a folder": (["export", "{model}", "{tmp}", "--format", "word2vec"], "expected a file to write, got a"),
    "a projector in a file": (["export", "{model}", "{links}", "--format", "projector"], "expected a folder, got a"),
    "events in a file": (["train", "{links}", "-o", "{new}", "--tensorboard", "{links}"], "tensorboard: expected a"),
    "a log in a folder": (["train", "{links}", "-o", "{new}", "--log", "{tmp}"], "log: expected a file, got the fol"),
    "a picture in a folder": (["plot", "{model}", "-o", "{tmp}"], "--out: expected a file in an existing folder"),
    "not a model": (["distance", "{links}", "a", "b"], "links.tsv: expected"),
    "a title": (["neighbors", "{model}", "Town 3"], "'Town 3' is not one of the 30 concepts; similar: town 3"),
    "a title of two": (["distance", "{model}", "town 3", "x"], "none is close"),
    "another graph": (["path", "{model}", "wordnet-mammals", "town 3", "town 4"], "got other names"),
    "judged on another": (["eval", "{model}", "wordnet-mammals"], "got other names"),
    "judged on links": (["eval", "{model}", "{links}", "--objective", "links", "--hold-out", "0.1"], "--hold-out:"),
    "format": (["export", "{model}", "{new}", "--format", "csv"], "--format: expected word2vec"),
    "no png": (["plot", "{model}", "-o", "{tmp}/x.jpg"], "ends in .png"),
    "hops of what": (["plot", "{model}", "-o", "{tmp}/x.png", "--hops"], "--hops: expected --graph"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_done_is_said_in_a_line(
    hsgeo: Hsgeo, links: Path, model: Path, tmp_path: Path, capsys, unchecked, arguments: list[str], said: str
):
    places = {"links": links, "model": model, "tmp": tmp_path, "new": tmp_path / "new.safetensors"}
    assert hsgeo("hops", *(argument.format(**places) for argument in arguments)) == 2
    shown = capsys.readouterr().err
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_help_stays_quick_and_names_all_commands():
    script = (
        "import sys; from hyperspectral_geo.cli import hops; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.stdout.strip() == "[]", run.stderr
