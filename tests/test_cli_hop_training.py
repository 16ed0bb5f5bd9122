"""What is kept of a training and what judging makes of it; signals; words for what cannot be shown or reached."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperspectral_geo.cli.hop_sources import read_hop_graph
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, hop_counts
from hyperspectral_geo.hyperbolic.hop_scores import hop_scores
from hyperspectral_geo.hyperbolic.provenance import Provenance

Hsgeo = Callable[..., int]

RING = "".join(f"n{i}\tn{(i + 1) % 12}\n" for i in range(12)) + "n0\tn5\n"
CAUSES = "a\tb\t0.5\nb\tc\t0.25\nc\ta\t0.9\na\td\t0.125\nd\tc\t0.5\n"


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    (tmp_path / "ring.tsv").write_text(RING)
    return tmp_path / "ring.tsv"


@pytest.fixture
def trained(hsgeo: Hsgeo, tmp_path: Path) -> Callable[..., Path]:
    """A model of some links, as ``hsgeo hops train`` writes it."""

    def train(text: str, *options: str, name: str = "links.tsv") -> Path:
        out = tmp_path / "trained.safetensors"
        (tmp_path / name).write_text(text)
        assert hsgeo("hops", "train", tmp_path / name, "-o", out, "--steps", 20, "--dim", 2, *options) == 0
        return out

    return train


@pytest.mark.parametrize(
    ("text", "options", "kept"),
    [
        (RING, [], {"objective": "hops", "directed": True, "hold_out": 0.0, "seed": 0, "weighted": False}),
        (RING, ["--undirected", "--hold-out", "0.2", "--seed", "4"], {"directed": False, "hold_out": 0.2, "seed": 4}),
        (RING, ["--objective", "links"], {"objective": "links", "weights": None}),
        ("a\tb\nb\tc\nd\tc\n", ["--objective", "tree"], {"objective": "tree"}),
        (CAUSES, ["--weights", "probability"], {"weights": "probability", "weighted": True, "certain": None}),
        (CAUSES + "d\ta\t1\n", ["--weights", "probability", "--certain", "0.99"], {"certain": 0.99}),
        (CAUSES, ["--weights", "ignore", "--objective", "links"], {"weights": "ignore", "weighted": False}),
        ("source\ttarget\tlength\n" + CAUSES, [], {"weights": None, "weighted": True}),
    ],
)
def test_training_is_kept_and_is_what_eval_goes_by(
    hsgeo: Hsgeo, trained: Callable[..., Path], tmp_path: Path, capsys, text: str, options: list[str], kept: dict
):
    out = trained(text, *options)
    made = HopEmbedding.load(out).provenance
    assert made is not None
    assert kept.items() <= made.as_record().items()
    assert hsgeo("hops", "eval", out, tmp_path / "links.tsv", "--json", tmp_path / "s.json") == 0
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["trained_on_graph"] is True
    assert ("hops" in found) == (made.objective == "hops")
    assert "not the links" not in capsys.readouterr().out


def test_an_undirected_model_is_judged_on_undirected_links(hsgeo: Hsgeo, trained, tmp_path: Path):
    out, scores = trained(RING, "--undirected"), tmp_path / "s.json"
    assert hsgeo("hops", "eval", out, tmp_path / "links.tsv", "--json", scores) == 0
    graph = read_hop_graph(str(tmp_path / "links.tsv"), directed=False)
    expected = hop_scores(HopEmbedding.load(out), hop_counts(graph), graph=graph).as_dict()
    assert json.loads(scores.read_text())["hops"] == pytest.approx(expected)


CONTRADICTIONS = {
    "share": (["--hold-out", "0.1"], "--hold-out: expected 0.2, as in training, got 0.1"),
    "seed": (["--seed", "5"], "--seed: expected 4, which drew the pairs held out from training, got 5"),
    "directions": (["--undirected"], "--undirected: expected a graph that is directed, as in training"),
    "lengths": (["--weights", "length"], "--weights: expected no lengths, as in training, got length"),
    "certain": (["--certain", "0.9"], "--certain: expected None, as in training, got 0.9"),
}


@pytest.mark.parametrize(("options", "said"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_contradicts_the_training_is_refused(hsgeo: Hsgeo, trained, tmp_path: Path, capsys, options, said: str):
    out = trained(RING, "--hold-out", "0.2", "--seed", "4")
    assert hsgeo("hops", "eval", out, tmp_path / "links.tsv", *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("path", ["--directed"], "--directed: expected a graph that is undirected"),
        ("path", ["--weights", "ignore"], "--weights: expected lengths, as in training, got ignore"),
        ("plot", ["--weights", "length"], "--weights: expected lengths, as in training, got length"),
    ],
)
def test_ways_and_pictures_go_by_the_training_too(
    hsgeo: Hsgeo, trained, tmp_path: Path, capsys, command: str, options: list[str], said: str
):
    out, links = trained(CAUSES, "--undirected", "--weights", "probability"), tmp_path / "links.tsv"
    rest = [links, "a", "c"] if command == "path" else ["-o", tmp_path / "x.png", "--graph", links]
    assert hsgeo("hops", command, out, *rest, *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert hsgeo("hops", command, out, *rest) in (0, 1)
    assert "length" in capsys.readouterr().out or command == "plot"


def test_another_graph_of_the_same_names_is_judged_and_said_to_be_another(
    hsgeo: Hsgeo, trained, ring: Path, capsys, tmp_path: Path
):
    out = trained(RING)
    ring.write_text(RING + "n3\tn9\n")
    assert hsgeo("hops", "eval", out, ring, "--json", tmp_path / "s.json") == 0
    assert "these are not the links that the model was trained on" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["trained_on_graph"] is False


@pytest.mark.parametrize(
    ("known", "options", "heading"),
    [
        (0.0, [], "all pairs, none of them held out from training"),
        (0.2, [], "the pairs held out from training, a share of 0.2 drawn by seed 4"),
        (0.2, ["--hold-out", "0"], "all pairs, a share of 0.2 of them held out from training"),
        (None, [], "all pairs; the model does not say which of them it was trained on"),
        (None, ["--hold-out", "0.1", "--seed", "7"], "as you say, a share of 0.1 drawn by seed 7"),
    ],
)
def test_the_heading_says_who_knows_what_was_held_out(
    hsgeo: Hsgeo, ring: Path, tmp_path: Path, capsys, known: float | None, options: list[str], heading: str
):
    graph = read_hop_graph(str(ring))
    made = None if known is None else Provenance.of(graph, "hops", hold_out=known, seed=4)
    points = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    model = HopEmbedding(graph.names, points, outgoing=torch.zeros(12), incoming=torch.zeros(12))
    out = replace(model, provenance=made).save(tmp_path / "m.safetensors")
    assert hsgeo("hops", "eval", out, ring, *options) == 0
    assert heading in capsys.readouterr().out.splitlines()[0]


def test_scores_are_shown_where_no_route_is_to_be_had(hsgeo: Hsgeo, trained, tmp_path: Path, capsys):
    out = trained("a\tb\n" + "".join(f"n{i}\tn{i}\n" for i in range(60)))
    assert hsgeo("hops", "eval", out, tmp_path / "links.tsv", "--routes", 5, "--json", tmp_path / "s.json") == 0
    said = capsys.readouterr()
    assert "greedy routes: none of 5 pairs drawn is joined" in said.err
    assert "average distortion" in said.out
    assert json.loads((tmp_path / "s.json").read_text())["greedy routes"] == {"pairs": 0, "unreachable": 5}


def test_no_way_is_said_before_one_is_walked(hsgeo: Hsgeo, trained, tmp_path: Path, capsys):
    out = trained("a\tb\nb\tc\nc\ta\nx\ty\ny\tx\n")
    capsys.readouterr()
    assert hsgeo("hops", "path", out, tmp_path / "links.tsv", "a", "y") == 1
    assert capsys.readouterr().out == "no way leads there\n"
    assert hsgeo("hops", "distance", out, "a", "y") == 0


@pytest.mark.parametrize(("objective", "text"), [("links", CAUSES), ("tree", "a\tb\t0.5\nc\tb\t0.5\n")])
def test_lengths_that_would_be_ignored_are_refused(hsgeo: Hsgeo, tmp_path: Path, capsys, objective: str, text: str):
    (tmp_path / "links.tsv").write_text(text)
    command = ["hops", "train", tmp_path / "links.tsv", "-o", tmp_path / "m", "--objective", objective]
    assert hsgeo(*command, "--weights", "length") == 2
    assert "--weights: expected lengths with --objective hops" in " ".join(capsys.readouterr().err.split())
    assert hsgeo(*command, "--weights", "ignore", "--steps", 5, "--dim", 3) == 0


def test_a_certain_link_needs_certain(hsgeo: Hsgeo, trained, tmp_path: Path, capsys):
    text = CAUSES + "d\ta\t1\n"
    (tmp_path / "links.tsv").write_text(text)
    command = ["hops", "train", tmp_path / "links.tsv", "-o", tmp_path / "m", "--weights", "probability"]
    assert hsgeo(*command) == 2
    assert "--certain 0.999" in " ".join(capsys.readouterr().err.split())
    out = trained(text, "--weights", "probability", "--certain", "0.999")
    capsys.readouterr()
    assert hsgeo("hops", "path", out, tmp_path / "links.tsv", "d", "a") == 0
    assert "the shortest way has length 0.001" in capsys.readouterr().out


def _with_plain_signals() -> None:
    """What a shell runs in the background ignores SIGINT, and hands that down."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("number", "kept", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, True, 143), (signal.SIGINT, False, 130)]
)
def test_a_signal_saves_and_stops_or_says_what_is_lost(ring: Path, tmp_path: Path, number: int, kept: bool, code: int):
    out, log, state = tmp_path / "m.safetensors", tmp_path / "log.jsonl", tmp_path / "state"
    command = [sys.executable, "-m", "hyperspectral_geo", "hops", "train", ring, "--dim", "2", "--steps", "1000000"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    options = ["-o", out, "--log", log, *(["--checkpoint", state] if kept else [])]
    run = subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=_with_plain_signals
    )
    try:
        while run.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.01)
        run.send_signal(number)
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
    assert run.returncode == code, said
    told = f"the same command with --resume goes on from {state}" if kept else "nothing was kept; pass --checkpoint DIR"
    assert said.startswith(f"hsgeo: interrupted; {told}")  # and no empty line of a bar before it
    assert "Traceback" not in said
    assert not out.exists()
    assert not kept or len(list(state.iterdir())) == 1


def test_names_of_any_length_and_script_are_shown_in_a_line(hsgeo: Hsgeo, tmp_path: Path, capsys):
    names = ("a", "b" * 5000, "\U00013080 \U00013081", "\U00012000")
    out = HopEmbedding(names, torch.eye(4)[:, :2]).save(tmp_path / "m")
    assert hsgeo("hops", "neighbors", out, "a") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 220
    assert hsgeo("hops", "plot", out, "-o", tmp_path / "x.png") == 0
    said = capsys.readouterr().err
    assert re.fullmatch(r"\d letters in names are not in the picture's font; boxes stand for them\n", said)


def test_the_hash_is_of_links_and_lengths():
    graph = HopGraph.from_edges([("a", "b"), ("b", "c")])
    made = Provenance.of(graph, "hops")
    assert made.is_of(HopGraph.from_edges([(0, 1), (1, 2)]))
    assert not made.is_of(replace(graph, lengths=torch.ones(2, dtype=torch.float64)))
    assert not made.is_of(HopGraph.from_edges([("a", "b"), ("b", "c")], directed=False))
