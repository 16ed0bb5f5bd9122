"""The bench of knowledge graphs: bars of the issue, and one quick run."""

from __future__ import annotations

from rich.progress import Progress

from hyperspectral_geo.benchmarks import kg as bench


def test_bars_are_those_of_the_issue():
    bars = {(one.graph, one.dim): one.bars for one in bench._CONTESTS if one.bars}
    assert bars == {("wn18rr", 32): (0.473, 0.551), ("wn18rr", 40): (0.477, 0.555), ("fb15k-237", 40): (0.324, 0.506)}
    assert all(set(one.options) == {"hyperbolic", "euclidean"} for one in bench._CONTESTS)


def test_a_quick_run_has_a_row_for_each_figure(shared_data):
    shared_data("kg")
    with Progress(disable=True) as progress:
        table = bench.run(quick=True, progress=progress)
    assert [row.figure for row in table.rows[:5]] == [
        "umls, d = 32, hyperbolic: MRR",
        "umls, d = 32, hyperbolic: H@10",
        "umls, d = 32, hyperbolic: H@3",
        "umls, d = 32, hyperbolic: H@1",
        "umls, d = 32, hyperbolic: CPU minutes of training",
    ]
    assert len(table.rows) == 10
    values = {row.figure.split(": ")[1]: row.value for row in table.rows[:4]}
    assert 0.5 < values["MRR"] < 1
    assert values["H@1"] < values["MRR"] < values["H@3"] < values["H@10"]


def test_a_long_run_has_its_curve(shared_data):
    shared_data("kg")
    graph = bench.load_knowledge_graph("umls")
    contest = bench._Contest("umls", 4, 1, {"euclidean": {"steps": 80}}, bars=(0.1, 0.2))
    outcome = bench._outcome(graph, contest, "euclidean", 0, quick=False)
    assert len(outcome.curve) == 8
    assert [at for at, _ in outcome.curve] == sorted(at for at, _ in outcome.curve)
    rows = bench._rows(contest, "hyperbolic", [outcome], judged=True)
    assert [row.bar for row in rows] == [0.1, 0.2, None, None, None]
    assert rows[-1].ours.count("min") == 8
