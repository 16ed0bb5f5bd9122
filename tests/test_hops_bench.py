"""The bench of hop distances: what its contestants keep and see, its read-outs, and one quick run."""

from __future__ import annotations

import dataclasses
import math

import networkx as nx
import numpy as np
import pytest
import torch
from rich.progress import Progress

from hyperspectral_geo.benchmarks import hops as bench
from hyperspectral_geo.benchmarks.hop_contest import Contestant, HopTask, links_seen
from hyperspectral_geo.benchmarks.hop_readouts import affine_readout, monotone_readout
from hyperspectral_geo.data import Wikispeedia
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, HopScores, held_out_pairs, hop_counts
from hyperspectral_geo.hyperbolic.baselines import Bilinear
from hyperspectral_geo.hyperbolic.predictions import PredictsRows

CONTESTANTS = [
    pytest.param(directed, one, id=f"{setting}: {one.name}")
    for setting, (directed, contestants) in bench.SETTINGS.items()
    for one in contestants
]


def small_task(*, directed: bool = True, seed: int = 0) -> HopTask:
    drawn = nx.gnp_random_graph(40, 0.12, seed=3, directed=True)
    edges = [*drawn.edges, *((i, (i + 1) % 40) for i in range(40))]
    graph = HopGraph.from_edges(edges, names=tuple(f"page {i}" for i in range(40)), directed=directed)
    held = held_out_pairs(40, 0.1, seed=seed, directed=directed).mask()
    return HopTask(graph, hop_counts(graph), held, seed, quick=True)


def fitted(one: Contestant, task: HopTask) -> PredictsRows:
    try:
        return one.fitted(task)
    except ModuleNotFoundError as error:
        # Peers are no requirement of the tests; what else is missing is a fault.
        if error.name not in ("gensim", "gensim.models"):
            raise
        pytest.skip(str(error))


def numbers_a_page(model: PredictsRows) -> int:
    """Counted from what the model holds: numbers that differ from page to page."""
    if isinstance(model, Bilinear):
        tables = {id(t): t for t in (model.outgoing, model.incoming, model.left, model.right)}.values()
        return sum(t[0].numel() for t in tables if t.numel() and not bool((t == t[0]).all()))
    assert isinstance(model, HopEmbedding)
    tables = (model.tangents, model.targets, model.outgoing, model.incoming)
    kept = [table for table in tables if table is not None]
    return sum(table[0].numel() for table in kept)


@pytest.mark.parametrize("directed, one", CONTESTANTS)
def test_contestants_keep_what_they_say_and_see_no_pair_held_out(directed: bool, one: Contestant):
    task = small_task(directed=directed)
    model = fitted(one, task)
    if one.numbers is not None:
        assert numbers_a_page(model) == one.numbers
    found = model.distances()
    assert found.shape == (40, 40)
    assert bool(found.isfinite().all())
    if "on links" in one.name:
        given = dataclasses.replace(task, graph=links_seen(task))
        assert not bool(task.held[tuple(given.graph.edges.T)].any())
        assert len(given.graph.edges) == int((~task.held[tuple(task.graph.edges.T)]).sum())
    else:
        # Links held out become walks, and walks links.
        given = dataclasses.replace(task, hops=torch.where(task.held, 1 + (task.hops + 1) % 7, task.hops))
    assert torch.equal(found, one.fitted(given).distances()) == ("oracle" not in one.name)


def test_a_page_keeps_its_links_if_all_are_held_out():
    task = small_task()
    held = task.held.clone()
    held[5] = True
    seen = links_seen(dataclasses.replace(task, held=held)).edges
    assert torch.equal(seen[seen[:, 0] == 5], task.graph.edges[task.graph.edges[:, 0] == 5])


def test_bars_are_those_of_the_issue():
    bars = {
        one.name: (setting, dict(one.bars)) for setting, (_, of) in bench.SETTINGS.items() for one in of if one.bars
    }
    assert sorted(bars.values(), key=str) == sorted(
        [
            ("directed, 22", {"r2": 0.80, "average_distortion": 0.098, "neighbour_map": 0.36}),
            ("directed, 12", {"r2": 0.75, "neighbour_map": 0.30}),
            ("undirected", {"average_distortion": 0.115, "neighbour_map": 0.40}),
        ],
        key=str,
    )
    assert all(name.startswith("ours") for name in bars)
    fields = {field.name for field in dataclasses.fields(HopScores)}
    assert all(set(bar) <= set(bench.FIGURES) <= fields for _, bar in bars.values())


# Read-outs


class Table:
    """Given distances as a model."""

    def __init__(self, far: torch.Tensor) -> None:
        self.far = far

    def distances(self, sources: torch.Tensor | None = None) -> torch.Tensor:
        return self.far if sources is None else self.far[sources]


@pytest.fixture(scope="module")
def given() -> tuple[Table, torch.Tensor, torch.Tensor]:
    task = small_task()
    noise = torch.rand(40, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Table((task.hops + noise).square()), task.hops, task.held


def test_the_line_is_numpys(given):
    model, hops, held = given
    seen = (hops > 0) & ~held
    slope, level = np.polyfit(model.far[seen].numpy(), hops[seen].numpy(), 1)
    torch.testing.assert_close(affine_readout(model, hops, held).distances(), slope * model.far + level)


def test_the_curve_is_scikit_learns(given):
    isotonic = pytest.importorskip("sklearn.isotonic")
    model, hops, held = given
    ring = torch.arange(40).expand(40, 40) % 3 == 0  # few enough for each pair to be a group of its own
    held = held | ~ring
    seen = (hops > 0) & ~held
    assert int(seen.sum()) < 1024
    reference = isotonic.IsotonicRegression().fit(model.far[seen].numpy(), hops[seen].double().numpy())
    inside = (model.far >= model.far[seen].min()) & (model.far <= model.far[seen].max())
    found = monotone_readout(model, hops, held).distances()[inside]
    np.testing.assert_allclose(found.numpy(), reference.predict(model.far[inside].numpy()), atol=1e-3)


def test_the_curve_keeps_the_order_and_is_nearer_than_the_line(given):
    model, hops, held = given
    curve, line = (read(model, hops, held) for read in (monotone_readout, affine_readout))
    order = model.far.flatten().argsort()
    assert bool((curve.distances().flatten()[order].diff() > 0).all())
    seen = (hops > 0) & ~held
    errors = [float((read.distances() - hops)[seen].square().mean()) for read in (curve, line)]
    assert errors[0] < errors[1]
    some = torch.tensor([7, 2])
    assert torch.equal(curve.distances(some), curve.distances()[some])


def test_distances_that_are_all_equal_are_read_as_the_mean():
    hops = torch.tensor([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    same = Table(torch.full((3, 3), 4.0, dtype=torch.float64))
    for read in (affine_readout, monotone_readout):
        torch.testing.assert_close(
            read(same, hops, hops < 0).distances(), torch.full((3, 3), 2.0).double(), atol=1e-5, rtol=0
        )


# The table


def test_a_quick_run(monkeypatch: pytest.MonkeyPatch):
    drawn = nx.gnp_random_graph(700, 0.006, seed=4, directed=True)
    core = Wikispeedia(tuple(f"page {i}" for i in range(700)), torch.tensor(list(drawn.edges)))
    monkeypatch.setattr(bench, "load_wikispeedia", lambda core, given=core: given)
    few = {name: (directed, (of[0], of[-1])) for name, (directed, of) in bench.SETTINGS.items()}

    def missing(task: HopTask) -> PredictsRows:
        raise ModuleNotFoundError("No module named 'gensim'")

    first = next(iter(few))
    few[first] = (True, (*few[first][1], Contestant("gensim", 22, missing)))
    monkeypatch.setattr(bench, "SETTINGS", few)
    table = bench.run(quick=True, progress=Progress(disable=True))
    # three figures a model; the last directed contestant is judged with two read-outs
    assert len(table.rows) == 3 * (3 + 2 + 2)
    assert all(row.bar is None for row in table.rows)
    assert all(math.isfinite(row.value) for row in table.rows)
    assert any("gensim: not measured: No module named 'gensim'" in note for note in table.notes)
    assert any("Gromov's δ" in note and "95 % interval" in note for note in table.notes)


def test_a_sub_core_hangs_together():
    drawn = nx.gnp_random_graph(700, 0.006, seed=4, directed=True)
    names = tuple(f"page {i}" for i in range(700))
    part = bench._sub_core(Wikispeedia(names, torch.tensor(list(drawn.edges))))
    found = nx.DiGraph([(part.names[a], part.names[b]) for a, b in part.edges.tolist()])
    assert nx.is_strongly_connected(found)
    assert set(found) == set(part.names)
    kept = drawn.subgraph(int(name.split()[1]) for name in part.names)
    assert kept.number_of_edges() == found.number_of_edges()
