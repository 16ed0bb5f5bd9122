"""Bit-parallel BFS: hop counts against SciPy and networkx, on the real Wikispeedia graph, and what is refused."""

from __future__ import annotations

from importlib import import_module
from urllib.parse import unquote

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from hyperspectral_geo.benchmarks import hop_bfs
from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.bfs import bfs, bfs_blocks

module = import_module("hyperspectral_geo.hyperbolic.bfs")  # by its name the package knows the function
PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40)


def chain(count: int, *, directed: bool = True) -> HopGraph:
    return HopGraph.from_edges(torch.arange(count).unfold(0, 2, 1), directed=directed)


def random_graph(count: int, links: int, *, directed: bool, seed: int = 0) -> HopGraph:
    """Links drawn with a few nodes much preferred as targets; some nodes have none."""
    generator = np.random.default_rng(seed)
    targets = (generator.random(links) ** 3 * count).astype(np.int64)
    edges = torch.from_numpy(np.stack([generator.integers(count, size=links), targets], 1))
    return HopGraph.from_edges(edges, names=[str(i) for i in range(count)], directed=directed)


def by_scipy(graph: HopGraph, sources: list[int], *, reverse: bool = False) -> torch.Tensor:
    links = graph.edges.numpy().T
    matrix = csr_array((np.ones(links.shape[1]), (links[0], links[1])), shape=(len(graph), len(graph)))
    found = dijkstra(matrix.T.tocsr() if reverse else matrix, unweighted=True, indices=sources)
    return torch.from_numpy(np.where(np.isfinite(found), found, -1).astype(np.int64))


@given(PAIRS, st.booleans(), st.booleans(), st.lists(st.integers(0, 11), max_size=8), st.none() | st.integers(0, 4))
def test_hop_counts_are_those_of_networkx(pairs, directed: bool, reverse: bool, sources: list[int], limit: int | None):
    graph = HopGraph.from_edges(pairs, names="abcdefghijkl", directed=directed)
    peer = nx.DiGraph() if directed else nx.Graph()
    peer.add_nodes_from(range(12))
    peer.add_edges_from(pairs)
    peer = peer.reverse() if reverse and directed else peer
    found = bfs(graph, sources, reverse=reverse, limit=limit)
    assert found.dtype == torch.int8
    assert found.shape == (len(sources), 12)
    for row, source in zip(found.tolist(), sources, strict=True):
        expected = nx.single_source_shortest_path_length(peer, source, cutoff=limit)
        assert row == [expected.get(node, -1) for node in range(12)]


@pytest.mark.parametrize("links", [300, 900, 5000], ids=["broken", "thin", "dense"])
@pytest.mark.parametrize("directed", [True, False], ids=["directed", "undirected"])
@pytest.mark.parametrize("reverse", [False, True], ids=["onward", "reverse"])
@pytest.mark.parametrize("push", [0, module._PUSH, 10**9], ids=["always push", "both", "always pull"])
def test_several_blocks_are_those_of_scipy(links: int, directed: bool, reverse: bool, push: int, monkeypatch):
    monkeypatch.setattr(module, "_PUSH", push)
    monkeypatch.setattr(module, "_LINKS", 100)  # links and nodes in many chunks as well
    monkeypatch.setattr(module, "_NODES", 64)
    graph = random_graph(600, links, directed=directed)
    sources = [*range(0, 600, 4), 7, 7, 8]
    found = bfs(graph, sources, reverse=reverse)
    assert torch.equal(found.long(), by_scipy(graph, sources, reverse=reverse))


def test_backwards_is_forwards_transposed():
    graph = random_graph(300, 1200, directed=True)
    onward, back = (bfs(graph, range(300), reverse=reverse) for reverse in (False, True))
    assert torch.equal(onward, back.T)
    assert int(onward.max()) > 3


@pytest.mark.parametrize(("count", "dtype"), [(128, torch.int8), (129, torch.int16), (300, torch.int16)])
def test_the_type_holds_the_largest_hop_count(count: int, dtype: torch.dtype):
    found = bfs(chain(count), [0, 1])
    assert found.dtype == dtype
    assert torch.equal(found[0].long(), torch.arange(count))
    assert torch.equal(found[1].long(), torch.arange(-1, count - 1))


@pytest.mark.parametrize(("most", "dtype"), [(127, torch.int8), (32_767, torch.int16), (10**6, torch.int32)])
def test_digits_become_hop_counts(most: int, dtype: torch.dtype):
    generator = np.random.default_rng(0)
    hops = generator.integers(-1, most + 1, (50, 5000))
    hops[0, :2] = -1, most
    bits = (np.uint64(1) << np.arange(50, dtype=np.uint64))[:, None]
    seen = np.where(hops >= 0, bits, np.uint64(0)).sum(0, dtype="<u8")
    planes = [(hops >= 0) & (hops >> b & 1 > 0) for b in range(most.bit_length())]
    digits = [np.where(plane, bits, np.uint64(0)).sum(0, dtype="<u8") for plane in planes]
    found = module._unpacked(seen, digits, 50)
    assert found.dtype == dtype
    assert torch.equal(found.long(), torch.from_numpy(hops))


def test_all_blocks_get_the_largest_type():
    # Of the three blocks of sources only the first needs 16 bits.
    graph = chain(180)
    found = bfs(graph, range(180))
    steps = torch.arange(180) - torch.arange(180)[:, None]
    assert found.dtype == torch.int16
    assert torch.equal(found.long(), steps.where(steps >= 0, -1))
    assert [block.dtype for block in bfs_blocks(graph, range(180))] == [torch.int16, torch.int8, torch.int8]


@pytest.mark.parametrize("limit", [0, 1, 127, 128, None])
def test_what_lies_beyond_the_limit_is_not_joined(limit: int | None):
    found = bfs(chain(200), [0], limit=limit)[0].long()
    steps = torch.arange(200)
    assert torch.equal(found, steps if limit is None else steps.where(steps <= limit, -1))


EDGES = {
    "no nodes": (HopGraph.from_edges([]), [], []),
    "one node": (HopGraph.from_edges([], names=["a"]), [0], [[0]]),
    "no links": (HopGraph.from_edges([], names="abc"), [2, 0], [[-1, -1, 0], [0, -1, -1]]),
    "no sources": (chain(3), [], []),
    "a self-loop": (HopGraph.from_edges([(0, 0), (0, 1)]), [0, 1], [[0, 1], [-1, 0]]),
    "two parts": (HopGraph.from_edges([(0, 1), (2, 3)], directed=False), [1, 3], [[1, 0, -1, -1], [-1, -1, 1, 0]]),
    "repeated sources": (chain(3), [1, 1, 0, 1], [[-1, 0, 1], [-1, 0, 1], [0, 1, 2], [-1, 0, 1]]),
    "one source 70 times": (chain(2), [0] * 70, [[0, 1]] * 70),
}


@pytest.mark.parametrize(("graph", "sources", "expected"), EDGES.values(), ids=EDGES)
def test_edge_cases(graph: HopGraph, sources: list[int], expected: list[list[int]]):
    found = bfs(graph, sources)
    assert found.shape == (len(sources), len(graph))
    assert found.tolist() == expected


@pytest.mark.parametrize("form", [list, tuple, range, torch.tensor, np.array], ids=lambda form: form.__name__)
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "uint64"])
def test_sources_come_in_many_forms(form, dtype: str, unchecked):
    sources = form(3) if form is range else form(np.array([0, 1, 2], dtype=dtype))
    assert bfs(chain(3), sources).tolist() == [[0, 1, 2], [-1, 0, 1], [-1, -1, 0]]


def test_lengths_are_not_looked_at():
    graph = HopGraph.from_edges([(0, 1), (1, 2), (0, 2)], lengths=[0.1, 0.1, 9.0])
    assert bfs(graph, [0]).tolist() == [[0, 1, 1]]


BAD = {
    "beyond": ([3], None, "sources: expected nodes of a graph of 3, numbered from 0, got 3 at place 0"),
    "negative": ([0, -1], None, "got -1 at place 1"),
    "floats": ([0.0], None, "sources: expected integers"),
    "booleans": ([True, False], None, "sources: expected integers"),
    "a boolean mask": (torch.tensor([True, False, True]), None, "sources: expected integers"),
    "a number": (2, None, "sources: expected integers of shape"),
    "a table": (torch.zeros(2, 2, dtype=torch.int64), None, "sources: expected integers of shape"),
    "names": (["a"], None, "sources: expected node numbers"),
    "nothing": (None, None, "sources: expected node numbers"),
    "ragged": ([[0], [1, 2]], None, "sources: expected node numbers"),
    "beyond int64": ([2**70], None, "sources: expected"),
    "beyond int64, unsigned": (np.array([2**63 + 1], dtype=np.uint64), None, "sources: expected nodes"),
    "a negative limit": ([0], -1, "limit: expected a whole number"),
    "a fractional limit": ([0], 1.5, "limit: expected a whole number"),
    "a limit of truth": ([0], True, "limit: expected a whole number"),
}


@pytest.mark.parametrize(("sources", "limit", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(sources, limit, said: str, unchecked):
    for search in (bfs, bfs_blocks):
        with pytest.raises(ValueError, match=said):
            search(chain(3), sources, limit=limit)


def test_wikispeedia_has_the_hop_counts_of_the_data_set(shared_data):
    folder = shared_data("wikispeedia")

    def rows(name: str) -> list[list[str]]:
        lines = (folder / name).read_text("utf-8").splitlines()
        return [[unquote(x) for x in line.split("\t")] for line in lines if line and not line.startswith("#")]

    names = [name for (name,) in rows("articles.tsv")]
    graph = HopGraph.from_edges([(a, b) for a, b in rows("links.tsv")], names=names)
    assert (len(graph), len(graph.edges), graph.loops) == (4598, 119_769, 110)
    found = bfs(graph, range(len(graph)))
    assert np.array_equal(found.numpy(), np.load(folder / "hops_directed_int8.npz")["d"])
    histogram = [119_769, 2_977_875, 9_675_454, 4_821_269, 836_526, 142_199, 14_667, 468, 5]
    assert torch.bincount(found.flatten() + 1)[2:].tolist() == histogram
    some = list(range(0, 4598, 200))
    assert torch.equal(bfs(graph, some, reverse=True), found[:, some].T)


def test_the_generated_graph_is_scale_free():
    graph = hop_bfs.scale_free(20_000, 200_000, seed=0)
    same = HopGraph.from_edges(graph.edges, names=[str(i) for i in range(20_000)])
    assert torch.equal(graph.edges, same.edges)  # sorted, without self-loops and repeats
    assert same.loops == same.repeats == 0
    incoming = torch.bincount(graph.edges[:, 1], minlength=20_000).sort(descending=True).values.double()
    ranks = torch.arange(10, 2000)
    logs = torch.stack([ranks.log(), torch.ones(len(ranks))], 1).double()
    slope = torch.linalg.lstsq(logs, incoming[ranks].log()[:, None]).solution[0]
    assert float(slope) == pytest.approx(-2 / 3, abs=0.03)


def test_the_bench_has_rows_with_bars(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hop_bfs, "NODES", (2000, 10_000))
    found = hop_bfs.rows(quick=False)
    assert [row.bar for row in found] == [0.05, 0.05, 10.0, 1.5, 0.0]
    assert found[-1].value == 0
    assert all(row.bar is None for row in hop_bfs.rows(quick=True)[:-1])
