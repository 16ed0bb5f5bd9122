"""Held-out pairs and links: the hash against a plain reference, its statistics, and what a split promises."""

from __future__ import annotations

import itertools
import math

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.splits import HeldOut, held_out_pairs, link_split

# Held-out pairs

WORD = 2**64
STEP = 0x9E3779B97F4A7C15


def scrambled(state: int) -> int:
    """SplitMix64 without its last shift, in whole numbers of any size."""
    state %= WORD
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    return (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD


def test_the_reference_is_splitmix64():
    words = [scrambled(1234567 + i * STEP) for i in (1, 2, 3)]
    # The first numbers of the published generator from this seed.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [word ^ (word >> 31) for word in words] == published


def by_whole_numbers(held: HeldOut) -> list[list[bool]]:
    """The mask without torch."""

    def key(node: int, stream: int) -> int:
        return scrambled(node * STEP + scrambled(stream * STEP))

    def drawn(u: int, v: int) -> bool:
        word = scrambled(key(u, 2 * held.seed) + key(v, 2 * held.seed + held.directed))
        return u != v and (word + WORD // 2) % WORD < int(held.share * WORD)

    return [[drawn(u, v) for v in range(held.nodes)] for u in range(held.nodes)]


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize(("share", "seed"), [(0.3, 0), (0.5, 7), (0.9, -3), (0.01, 10**30)])
def test_the_mask_is_that_of_whole_numbers(share: float, seed: int, directed: bool):
    held = held_out_pairs(30, share, seed=seed, directed=directed)
    assert held.mask().tolist() == by_whole_numbers(held)


def test_the_mask_stays_what_it_is():
    # These pairs are held out on every machine and in every version: trained models depend on it.
    assert held_out_pairs(5, 0.3, seed=0).mask().nonzero().tolist() == [
        [1, 0],
        [1, 4],
        [2, 1],
        [2, 3],
        [2, 4],
        [3, 0],
        [3, 4],
        [4, 3],
    ]


@given(st.integers(1, 60), st.floats(0, 0.99), st.integers(-(2**70), 2**70), st.booleans(), st.data())
def test_any_block_is_that_of_the_whole(nodes: int, share: float, seed: int, directed: bool, data):
    held = held_out_pairs(nodes, share, seed=seed, directed=directed)
    numbers = st.lists(st.integers(0, nodes - 1), min_size=1, max_size=9)
    rows, columns = torch.tensor(data.draw(numbers)), torch.tensor(data.draw(numbers))
    whole = held.mask()
    assert torch.equal(held.mask(rows, columns), whole[rows][:, columns])
    assert torch.equal(held.contains(rows[:1], columns), whole[rows[0], columns])
    assert not whole.diagonal().any()
    assert directed or torch.equal(whole, whole.T)


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.97])
def test_share_and_independence(share: float, directed: bool):
    n = 1200
    mask = held_out_pairs(n, share, seed=3, directed=directed).mask()
    pairs = mask[tuple(torch.triu_indices(n, n, 1))]
    back = mask.T[tuple(torch.triu_indices(n, n, 1))]
    assert stats.binomtest(int(pairs.sum()), len(pairs), share).pvalue > 0.001
    if directed:  # one direction says nothing of the other
        table = [[int((pairs & back).sum()), int((pairs & ~back).sum())]]
        table.append([int((~pairs & back).sum()), int((~pairs & ~back).sum())])
        assert stats.chi2_contingency(table).pvalue > 0.001
    for counts in (mask.sum(0), mask.sum(1)):  # the counts of the nodes scatter as binomial ones do
        spread = ((counts - share * (n - 1)).double().square().sum() / (share * (1 - share) * (n - 1))).item()
        assert 0.001 < stats.chi2(n).cdf(spread) < 0.999
    # Neither neighbouring columns nor the four corners of a rectangle are tied to one another.
    centred = mask.double() - share
    scale = share * (1 - share)
    for lag in (1, 2, 64):
        product = (centred[:, :-lag] * centred[:, lag:]).mean().item() / scale
        assert abs(product) < 4.5 / n
    corners = centred[:600, :600] * centred[600:, :600] * centred[:600, 600:] * centred[600:, 600:]
    corners.fill_diagonal_(0)  # there two corners are of the same two nodes
    assert abs(corners.mean().item()) / scale**2 < 6 / 600


def test_seeds_and_shares_draw_other_pairs():
    first, second = (held_out_pairs(500, 0.2, seed=seed).mask() for seed in (0, 1))
    both = int((first & second).sum())
    assert stats.binomtest(both, 500 * 499, 0.04).pvalue > 0.001
    assert not held_out_pairs(500, 0.0, seed=0).mask().any()
    assert bool((first <= held_out_pairs(500, 0.3, seed=0).mask()).all())  # a larger share only adds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": -1}, "nodes: expected a whole number"),
        ({"nodes": 2.0}, "nodes: expected a whole number"),
        ({"nodes": True}, "nodes: expected a whole number"),
        ({"share": 1}, "share: expected a number from 0 to below 1, got 1"),
        ({"share": -0.1}, "share: expected"),
        ({"share": math.nan}, "share: expected"),
        ({"share": "0.1"}, "share: expected"),
        ({"seed": 0.5}, "seed: expected a whole number"),
    ],
)
def test_held_out_pairs_refuses(arguments: dict, message: str, unchecked):
    with pytest.raises(ValueError, match=message):
        held_out_pairs(**{"nodes": 5, "share": 0.1, "seed": 0, **arguments})


@pytest.mark.parametrize("ends", [[-1], [0, 5]])
def test_numbers_that_are_no_nodes_are_refused(ends: list[int]):
    with pytest.raises(ValueError, match="expected nodes from 0 to 4"):
        held_out_pairs(5, 0.1, seed=0).mask(torch.tensor(ends))


# Links


def scale_free(n: int = 300, *, directed: bool = True, seed: int = 0) -> HopGraph:
    made = networkx.barabasi_albert_graph(n, 4, seed=seed)
    lengths = torch.rand(made.number_of_edges(), dtype=torch.float64) + 0.5
    names = [str(i) for i in range(n)]
    return HopGraph.from_edges(torch.tensor(list(made.edges)), names=names, directed=directed, lengths=lengths)


def pairs_of(edges: torch.Tensor) -> set[tuple[int, int]]:
    return {(u, v) for u, v in edges.tolist()}


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(("test", "validation"), [(0.1, 0.05), (0.3, 0.0), (0.0, 0.4)])
def test_a_split_parts_the_links(test: float, validation: float, connected: bool, directed: bool):
    graph = scale_free(directed=directed)
    split = link_split(graph, seed=1, test=test, validation=validation, connected=connected)
    links = len(graph.edges) // (1 if directed else 2)
    assert (len(split.test), len(split.validation)) == (round(test * links), round(validation * links))
    held = pairs_of(split.test) | pairs_of(split.validation)
    assert len(held) == len(split.test) + len(split.validation)
    if not directed:
        assert all(u < v for u, v in held)
        held |= {(v, u) for u, v in held}
    assert pairs_of(split.training.edges) == pairs_of(graph.edges) - held
    length = dict(zip(map(tuple, graph.edges.tolist()), graph.lengths.tolist(), strict=True))
    assert split.training.lengths.tolist() == [length[pair] for pair in map(tuple, split.training.edges.tolist())]
    non_links = split.test_non_links.tolist() + split.validation_non_links.tolist()
    assert len(split.test_non_links) == len(split.test)
    assert len(split.validation_non_links) == len(split.validation)
    assert len({tuple(pair) for pair in non_links}) == len(non_links)
    assert not any((u, v) in length or u == v for u, v in non_links)
    assert directed or all(u < v for u, v in non_links)
    if connected:
        left = networkx.Graph(split.training.edges.tolist())
        assert networkx.is_connected(left)
        assert len(left) == len(graph)


@given(st.integers(2, 25), st.integers(0, 60), st.booleans(), st.integers(0, 100))
def test_components_stay_what_they_are(n: int, links: int, directed: bool, seed: int):
    edges = torch.randint(n, (links, 2), generator=torch.Generator().manual_seed(seed))
    graph = HopGraph.from_edges(edges, names=[str(i) for i in range(n)], directed=directed)
    links = len(graph.edges) // (1 if directed else 2)
    parts_before = list(networkx.connected_components(as_networkx(graph)))
    room = links - (n - len(parts_before))
    non_links = (n * (n - 1) - len(graph.edges)) // (1 if directed else 2)
    if round(0.2 * links) + round(0.1 * links) > min(room, non_links):
        with pytest.raises(ValueError, match="graph: expected"):
            link_split(graph, seed=seed, test=0.2, validation=0.1)
        return
    split = link_split(graph, seed=seed, test=0.2, validation=0.1)
    assert list(networkx.connected_components(as_networkx(split.training))) == parts_before


def as_networkx(graph: HopGraph) -> networkx.Graph:
    made = networkx.Graph()
    made.add_nodes_from(range(len(graph)))
    made.add_edges_from(graph.edges.tolist())
    return made


def test_non_links_are_uniform():
    graph = HopGraph.from_edges([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], names="01234")
    drawn = [link_split(graph, seed=seed, test=0.2, validation=0, connected=False) for seed in range(600)]
    counts = torch.zeros(5, 5)
    for split in drawn:
        counts[tuple(split.test_non_links[0])] += 1
    free = [(u, v) for u, v in itertools.permutations(range(5), 2) if (u, v) not in pairs_of(graph.edges)]
    assert stats.chisquare([counts[pair].item() for pair in free]).pvalue > 0.001
    assert counts.sum() == sum(counts[pair] for pair in free)


@pytest.mark.parametrize(
    ("links", "options", "message"),
    [
        ([(0, 1), (1, 2), (2, 3)], {"test": 0.4}, "graph: expected 1 links to hold out, got 0 of 3"),
        ([(u, v) for u in range(4) for v in range(4)], {"test": 0.3}, "expected 5 pairs without a link, .* got 0"),
        ([(0, 1)], {"test": 0.7, "validation": 0.4}, "test, validation: expected shares"),
        ([(0, 1)], {"test": -0.1}, "test, validation: expected shares"),
        ([(0, 1)], {"test": math.nan}, "test, validation: expected shares"),
    ],
)
def test_link_split_refuses(links: list, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        link_split(HopGraph.from_edges(links), seed=0, **options)
