"""The benches hop-taxonomy and hop-graphs on small graphs: rows, notes and bars are what the pages say."""

from __future__ import annotations

import json
import re

import networkx
import pytest
from rich.progress import Progress
from test_forest import grown

from hyperspectral_geo.benchmarks import hop_graphs, hop_taxonomy
from hyperspectral_geo.benchmarks.table import BenchTable
from hyperspectral_geo.cli.bench import TABLES


def measured(module, *, quick: bool) -> BenchTable:
    with Progress(disable=True) as progress:
        table = module.run(quick=quick, progress=progress)
    json.dumps(table.to_dict(), allow_nan=False)
    assert table.name in TABLES
    return table


@pytest.mark.parametrize("quick", [True, False])
def test_taxonomy_shows_time_memory_and_the_euclidean_column(quick: bool, monkeypatch: pytest.MonkeyPatch):
    for source in ("_mammalia", "_taxonomy"):
        monkeypatch.setattr(hop_taxonomy, source, lambda: grown(400, seed=1))
    for steps, count in (("STEPS", 20), ("RANDOM_STEPS", 20), ("MAMMAL_STEPS", 40)):
        monkeypatch.setattr(hop_taxonomy, steps, count)
    rows = {row.figure: row for row in measured(hop_taxonomy, quick=quick).rows}
    scores = {figure: row for figure, row in rows.items() if figure.endswith(": MAP of ancestors")}
    assert len(scores) == (4 if quick else 8)
    assert all(row.interval and row.interval[0] <= row.value <= row.interval[1] for row in scores.values())
    assert all(0 <= row.value <= 1 for row in scores.values())
    for row in scores.values():
        leaves, inner = map(float, re.findall(r"(?:leaves|inner) ([\d.]+)", row.ours))
        assert min(leaves, inner) - 1e-4 <= row.value <= max(leaves, inner) + 1e-4
    best = scores["mammals (400), hyperbolic, laid out, then trained: MAP of ancestors"].value
    flat = scores["mammals (400), Euclidean, trained from random points: MAP of ancestors"].value
    assert best > max(0.8, 2 * flat)
    assert [row.bar for row in rows.values() if row.bar is not None] == ([] if quick else [60.0, 8.0])
    assert quick or 0.05 < rows["GB of memory at the most until then"].value < 50


def test_graphs_are_shown_in_four_geometries(monkeypatch: pytest.MonkeyPatch):
    star = networkx.star_graph(20)
    star.add_edge("apart", "too")  # only the largest component counts
    monkeypatch.setattr(hop_graphs, "GRAPHS", {"a star": lambda: star})
    monkeypatch.setattr(hop_graphs, "STEPS", 150)
    table = measured(hop_graphs, quick=False)
    tree, *rows = table.rows
    assert tree.value == 0  # a tree
    assert tree.ours.startswith("21 nodes, 20 links")
    assert [row.figure for row in rows] == [f"a star, {g}: average distortion" for g in hop_graphs._GEOMETRIES]
    assert all(row.interval is not None and row.interval[0] <= row.value <= row.interval[1] for row in rows)
    assert rows[0].value < 0.2
