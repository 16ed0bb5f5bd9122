"""Expected hops of pages whose links are probable, beside the hops of every graph that may come of them."""

from __future__ import annotations

from itertools import product

import networkx as nx
import numpy as np
import pytest
import torch
from hop_cases import random_graph
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.hyperbolic import HopGraph, hop_counts
from hyperspectral_geo.hyperbolic.text import SoftLinks
from hyperspectral_geo.hyperbolic.text.expected_hops import MOST_HOPS, arrivals, expected_hops, usual_reach, within
from hyperspectral_geo.hyperbolic.text.missing_links import MissingLinks

NONE = MissingLinks(0.0, 0.0, 1.0)
N = 12


def soft(out: Tensor, into: Tensor | None = None, between: Tensor | None = None) -> SoftLinks:
    """Links of which none is missing."""
    m, n = out.shape
    return SoftLinks(
        out,
        torch.zeros(n, m) if into is None else into,
        torch.zeros(m, m) if between is None else between,
        (NONE, NONE),
    )


def with_page(graph: HopGraph, out: list[int], into: list[int]) -> Tensor:
    """Hops of all pairs by networkx once a page is there, farther ones than ``MOST_HOPS`` as far as these."""
    whole = nx.DiGraph(graph.edges.tolist())
    whole.add_nodes_from(range(len(graph) + 1))
    whole.add_edges_from([(len(graph), a) for a in out] + [(a, len(graph)) for a in into])
    found = torch.full((len(whole), len(whole)), float(MOST_HOPS))
    for source, row in nx.all_pairs_shortest_path_length(whole):
        for target, hops in row.items():
            found[source, target] = min(hops, MOST_HOPS)
    return found


@pytest.mark.parametrize("reverse", [False, True], ids=["out", "into"])
@pytest.mark.parametrize("seed", range(4))
def test_expected_hops_are_the_mean_over_all_sets_of_links(seed: int, reverse: bool):
    graph = random_graph(N, 20, seed=seed)
    random = np.random.default_rng(seed)
    ends, p = random.choice(N, 4, replace=False), random.uniform(0.05, 0.95, 4)
    mean, weight = torch.zeros(N, dtype=torch.float64), 0.0
    for drawn in product((0, 1), repeat=4):
        if any(drawn):
            chance = float(np.prod(np.where(drawn, p, 1 - p)))
            links = ends[np.array(drawn, bool)].tolist()
            hops = with_page(graph, [], links)[:N, N] if reverse else with_page(graph, links, [])[N, :N]
            mean, weight = mean + chance * hops.double(), weight + chance
    table = torch.zeros(1, N)
    table[0, ends] = torch.from_numpy(p).float()
    found = soft(torch.zeros(1, N), table.T.contiguous()) if reverse else soft(table)
    hops = found.hops(graph)
    torch.testing.assert_close(hops.into[:, 0] if reverse else hops.out[0], (mean / weight).float(), atol=1e-4, rtol=0)


@given(st.integers(0, 1000), st.sets(st.integers(0, N - 1), min_size=1, max_size=4), st.integers(8, 40))
def test_certain_links_give_exact_hops(seed: int, ends: set[int], links: int):
    graph = random_graph(N, links, seed=seed)
    sure = torch.zeros(1, N)
    sure[0, list(ends)] = 1
    hops = soft(sure, sure.T.contiguous()).hops(graph)
    true = with_page(graph, list(ends), list(ends))
    torch.testing.assert_close(hops.out[0], true[N, :N], atol=0.02, rtol=0)
    torch.testing.assert_close(hops.into[:, 0], true[:N, N], atol=0.02, rtol=0)


def test_between_two_new_pages():
    graph = HopGraph.from_edges([(0, 1), (1, 2)], names=list("abcd"))
    out, into, between = torch.zeros(3, 4), torch.zeros(4, 3), torch.zeros(3, 3)
    out[0, 0] = out[1, 2] = 1.0  # the first page leads to a, the second to c
    into[2, 1] = 1.0  # c leads to the second
    between[1, 2] = 1.0  # the second to the third
    hops = soft(out, into, between).hops(graph).between
    assert hops.diagonal().tolist() == [0, 0, 0]
    assert float(hops[0, 1]) == pytest.approx(4, abs=0.05)  # over a, b, c
    assert float(hops[1, 2]) == pytest.approx(1, abs=0.05)
    assert float(hops[1, 0]) == MOST_HOPS


@given(st.integers(0, 10_000))
def test_more_probable_links_are_never_farther(seed: int):
    g = torch.Generator().manual_seed(seed)
    graph = random_graph(N, 25, seed=seed)
    p = torch.rand(2, N, generator=g) * (torch.rand(2, N, generator=g) < 0.4)
    direct, doubled = torch.rand(2, 2, generator=g).fill_diagonal_(0), p.clone()
    hops = soft(p, p.T.contiguous(), direct).hops(graph)
    for part in (hops.out, hops.into, hops.between + MOST_HOPS * torch.eye(2)):
        assert bool((part >= 1 - 1e-4).all())
        assert bool((part <= MOST_HOPS + 1e-4).all())
    # A page reaches what it surely links to in one hop, whatever else it links to.
    doubled[:, 0] = 1.0
    assert float(soft(doubled).hops(graph).out[:, 0].max()) < 1.02


def test_no_link_at_all_but_missing_ones_is_as_far_as_usual():
    """A page of which nothing is known but that it has a link lies a hop before a page like any other."""
    graph = random_graph(40, 200)
    rare = MissingLinks(1e-4, 0.0, 1.0)
    hops = SoftLinks(torch.zeros(1, 40), torch.zeros(40, 1), torch.zeros(1, 1), (rare, rare)).hops(graph)
    counts = hop_counts(graph).float()
    counts[counts < 0] = MOST_HOPS
    torch.testing.assert_close(hops.out[0], counts.mean(0) + 1, atol=0.02, rtol=0)
    torch.testing.assert_close(hops.into[:, 0], counts.mean(1) + 1, atol=0.02, rtol=0)


def test_missing_links_bring_a_page_nearer():
    graph, p = random_graph(40, 120), torch.full((1, 40), 0.1)
    few, many = (
        SoftLinks(p, p.T.contiguous(), torch.zeros(1, 1), (missing, missing)).hops(graph).out.mean()
        for missing in (NONE, MissingLinks(5.0, 0.0, 2.0))
    )
    assert float(many) < float(few) - 0.1


def test_pages_without_a_walk_are_as_far_as_can_be():
    hops = torch.tensor([[0, 1, -1, 20]])
    reach = torch.stack(list(within(hops)))
    assert reach.shape == (MOST_HOPS - 1, 1, 4)
    assert reach.sum(0).tolist() == [[MOST_HOPS - 1, MOST_HOPS - 2, 0, 0]]
    usual = torch.zeros(MOST_HOPS - 1, 4)
    found = expected_hops(arrivals(torch.ones(1, 1), within(hops), NONE, usual))
    torch.testing.assert_close(found, torch.tensor([[1.0, 2, MOST_HOPS, MOST_HOPS]]), atol=0.02, rtol=0)


def test_usual_reach_is_a_share_and_lends_to_pages_that_nothing_reaches():
    hops = torch.tensor([[0, 1, 2, -1], [1, 0, 1, -1], [-1, -1, 0, -1]])
    found = usual_reach(hops)
    np.testing.assert_allclose(found[0, :3], [1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(found[1, :3], [2 / 3, 2 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(found[2, :3], [2 / 3, 2 / 3, 1], rtol=1e-6)
    assert found[0, 3] == 0  # then what is usual one hop sooner
    np.testing.assert_allclose(found[1:, 3], found[:-1, :3].mean(1), rtol=1e-6)
    assert not bool(usual_reach(torch.tensor([[-1, -1]])).any())


def test_another_graph_is_refused():
    with pytest.raises(ValueError, match="expected the 12 known pages, got 13"):
        soft(torch.ones(1, 12)).hops(random_graph(13, 20))


# Missing links


@pytest.mark.parametrize(
    ("least", "share", "shape"), [(1.0, 0.5, 2.0), (3.0, 0.05, 0.7), (0.2, 1.0, 5.0)], ids=["a", "b", "c"]
)
def test_fit_finds_what_counts_were_drawn_by(least: float, share: float, shape: float):
    random = np.random.default_rng(1)
    expected = random.gamma(2.0, 5.0, 8000)
    counts = random.poisson(random.gamma(shape, (least + share * expected) / shape))
    found = MissingLinks.fit(torch.from_numpy(counts).float(), torch.from_numpy(expected).float())
    assert found.least == pytest.approx(least, rel=0.25, abs=0.15)
    assert found.share == pytest.approx(share, rel=0.15, abs=0.02)
    assert found.shape == pytest.approx(shape, rel=0.1)


@pytest.mark.parametrize("counts", [[0.0, 0, 0], [5.0, 5, 5], [0.0, 0, 300], [1.0]], ids=str)
def test_fit_is_finite_at_the_edges(counts: list[float]):
    found = MissingLinks.fit(torch.tensor(counts), torch.zeros(len(counts)))
    assert found.least + found.share * 0 == pytest.approx(np.mean(counts), rel=0.05, abs=2e-3)


def test_log_failure_is_the_generating_function_of_the_count():
    """E[(1 − F)^count] of draws."""
    missing, random = MissingLinks(1.0, 0.5, 1.5), np.random.default_rng(0)
    counts = random.poisson(random.gamma(1.5, (1 + 0.5 * 4) / 1.5, 200_000))
    usual = torch.tensor([0.0, 0.1, 0.5, 1.0])
    found = missing.log_failure(torch.tensor([4.0]), usual).exp()[0]
    drawn = [float(np.mean((1 - f) ** counts)) for f in usual.tolist()]
    np.testing.assert_allclose(found.numpy(), drawn, atol=5e-3)


WRONG = {
    "a negative mean": (-1.0, 0.0, 1.0),
    "no shape": (1.0, 0.0, 0.0),
    "not a number": (1.0, float("nan"), 1.0),
    "without end": (1.0, 0.0, float("inf")),
    "a text": ("1", 0.0, 1.0),
    "nothing": (None, 0.0, 1.0),
}


@pytest.mark.parametrize("numbers", WRONG.values(), ids=WRONG)
def test_numbers_out_of_range_are_refused(numbers: tuple, unchecked):
    with pytest.raises(ValueError, match="missing: expected finite numbers from 0"):
        MissingLinks(*numbers)
