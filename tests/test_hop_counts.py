"""All pairs and chosen sources, weighted or not, in memory and on disk."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import MOST_NODES, hop_counts
from hyperspectral_geo.hyperbolic.hop_store import HopStore, graph_hash

LINKS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.floats(0.01, 1.0)), max_size=24)


def ring(count: int = 150, **options) -> HopGraph:
    return HopGraph.from_edges([(i, (i + 1) % count) for i in range(count)], **options)


def weighted(count: int = 150) -> HopGraph:
    generator = torch.Generator().manual_seed(0)
    return ring(count, lengths=torch.rand(count, generator=generator, dtype=torch.float64) + 0.1)


# In memory


@given(LINKS, st.booleans(), st.booleans(), st.none() | st.floats(0, 3))
def test_likeliest_walks_are_those_of_networkx(links, directed: bool, reverse: bool, limit: float | None):
    """Links with probability p, and length −log p; p = 1 would have no length."""
    links = [(a, b, min(p, 0.99)) for a, b, p in links if a != b]
    lengths = [-math.log(p) for _, _, p in links]
    graph = HopGraph.from_edges([(a, b) for a, b, _ in links], names="abcdefgh", directed=directed, lengths=lengths)
    peer = nx.DiGraph() if directed else nx.Graph()
    peer.add_nodes_from(range(8))
    for (a, b, _), length in zip(links, lengths, strict=True):
        if not peer.has_edge(a, b) or peer[a][b]["weight"] > length:
            peer.add_edge(a, b, weight=length)
    peer = peer.reverse() if reverse and directed else peer
    found = hop_counts(graph, reverse=reverse, limit=limit, dtype=torch.float64)
    for node in range(8):
        there = nx.single_source_dijkstra_path_length(peer, node, cutoff=limit)
        expected = torch.tensor([there.get(other, math.inf) for other in range(8)], dtype=torch.float64)
        torch.testing.assert_close(found[node], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sources", [None, [5, 3, 5], torch.arange(100)], ids=["all", "three", "two blocks"])
@pytest.mark.parametrize("reverse", [False, True], ids=["onward", "reverse"])
def test_distances_on_a_ring(sources, reverse: bool):
    nodes = torch.arange(150) if sources is None else torch.as_tensor(sources)
    steps = (torch.arange(150) - nodes[:, None]) * (-1 if reverse else 1) % 150
    hops = hop_counts(ring(), sources, reverse=reverse)
    assert hops.dtype == torch.int16
    assert torch.equal(hops.long(), steps)
    assert torch.equal(hop_counts(weighted(), sources, reverse=reverse, weighted=False), hops)
    graph = ring(lengths=[0.25] * 150)
    assert torch.equal(hop_counts(graph, sources, reverse=reverse), 0.25 * steps)


def test_lengths_are_added_up_in_float64():
    exact, rounded = (hop_counts(weighted(), dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert (exact.dtype, rounded.dtype) == (torch.float64, torch.float32)
    assert torch.equal(exact.float(), rounded)
    lengths = weighted().lengths
    assert lengths is not None
    assert float(exact[0, 149]) == pytest.approx(float(lengths.sum() - lengths[-1]), rel=1e-12)


def test_no_limit_may_be_said_as_infinity():
    for graph in (ring(), weighted()):
        assert torch.equal(hop_counts(graph, limit=math.inf), hop_counts(graph))


def test_pairs_without_a_walk():
    links, lengths = [(0, 1), (2, 3)], [1.5, 2.5]
    assert hop_counts(HopGraph.from_edges(links), [0]).tolist() == [[0, 1, -1, -1]]
    graph = HopGraph.from_edges(links, lengths=lengths)
    assert hop_counts(graph, [0]).tolist() == [[0, 1.5, math.inf, math.inf]]


@pytest.mark.parametrize("lengths", [None, []], ids=["hops", "lengths"])
@pytest.mark.parametrize("names", [(), ("a",), ("a", "b")], ids=len)
def test_graphs_without_links(names: tuple[str, ...], lengths: list | None):
    graph = HopGraph.from_edges([], names=names, lengths=lengths)
    apart = -1 if lengths is None else math.inf
    count = len(names)
    assert hop_counts(graph).tolist() == [[0 if i == j else apart for j in range(count)] for i in range(count)]
    assert hop_counts(graph, []).shape == (0, count)


def test_all_pairs_of_a_large_graph_are_refused():
    graph = HopGraph.from_edges([(0, MOST_NODES)])
    with pytest.raises(ValueError, match="graph: expected at most 20000 nodes .* got 20001; pass sources"):
        hop_counts(graph)
    assert hop_counts(graph, [0]).shape == (1, 20_001)


BAD = {
    "a node that is none": ({"sources": [150]}, "sources: expected nodes of a graph of 150"),
    "names": ({"sources": ["a"]}, "sources: expected node numbers"),
    "a negative limit": ({"limit": -1}, "limit: expected a"),
    "a limit that is no number": ({"limit": math.nan}, "limit: expected a"),
    "a limit that is a word": ({"limit": "far"}, "limit: expected a"),
    "half precision": ({"dtype": torch.float16}, "dtype: expected torch.float32 or torch.float64"),
}


@pytest.mark.parametrize(("options", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_is_written(options: dict, said: str, tmp_path: Path, unchecked):
    for graph in (ring(), weighted()):
        if "dtype" in options and graph.lengths is None:
            continue
        with pytest.raises(ValueError, match=said):
            hop_counts(graph, **options)
        with pytest.raises(ValueError, match=said):
            HopStore.build(graph, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


# On disk


class Interrupted(Exception):
    pass


def stop_after(blocks: int):
    def progress(done: int, total: int) -> None:
        assert total == 3
        if done == blocks:
            raise Interrupted

    return progress


@pytest.mark.parametrize("graph", [ring(), weighted(), ring(directed=False)], ids=["hops", "lengths", "undirected"])
@pytest.mark.parametrize("sources", [None, [3, 1, 4, 1, 5], [], list(range(64))], ids=["all", "five", "none", "64"])
def test_a_store_holds_the_rows(graph: HopGraph, sources: list[int] | None, tmp_path: Path):
    expected = hop_counts(graph, sources)
    built = HopStore.build(graph, tmp_path / "store", sources)
    for store in (built, HopStore.open(tmp_path / "store", graph)):
        assert len(store) == len(expected)
        assert store.sources.tolist() == (list(range(150)) if sources is None else sources)
        assert torch.equal(store[:], expected)
        assert torch.equal(store[1::2], expected[1::2])
        for place in range(len(store)):
            assert torch.equal(store[place], expected[place])
        if len(store) > 3:
            assert torch.equal(store[[3, 0, 3, -1]], expected[[3, 0, 3, -1]])
            assert torch.equal(store[torch.tensor([2, 1])], expected[[2, 1]])
        with pytest.raises(IndexError):
            store[len(store)]


def test_options_reach_the_store(tmp_path: Path):
    for i, options in enumerate([{"reverse": True}, {"limit": 5}, {"weighted": False}, {"dtype": torch.float64}]):
        store = HopStore.build(weighted(), tmp_path / str(i), **options)
        assert torch.equal(store[:], hop_counts(weighted(), **options))


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_interrupted_store_goes_on_where_it_stopped(blocks: int, tmp_path: Path):
    folder = tmp_path / "store"
    with pytest.raises(Interrupted):
        HopStore.build(ring(), folder, progress=stop_after(blocks))
    with pytest.raises(ValueError, match=f"expected 3 blocks, got {blocks}; HopStore.build goes on"):
        HopStore.open(folder, ring())
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert len(written) == blocks
    (folder / ".000002.safetensors.abcdef.tmp").write_bytes(b"half a block")  # as a killed process leaves it
    seen: list[tuple[int, int]] = []
    store = HopStore.build(ring(), folder, progress=lambda *both: seen.append(both))
    assert seen == [(k, 3) for k in range(blocks + 1, 4)]
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert torch.equal(store[:], hop_counts(ring()))


def test_a_removed_block_is_counted_again(tmp_path: Path):
    HopStore.build(ring(), tmp_path / "store")
    (tmp_path / "store" / "000001.safetensors").unlink()
    assert torch.equal(HopStore.build(ring(), tmp_path / "store")[:], hop_counts(ring()))


def flipped(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


def other_shape(raw: bytes) -> bytes:
    return save({"hops": torch.zeros(64, 2, dtype=torch.int16)}, {"crc32": "0"})


DAMAGE = {
    "a bit": (flipped, "checksum"),
    "cut short": (lambda raw: raw[:-10], "cut short"),
    "padded": (lambda raw: raw + b"0", "cut short or padded"),
    "empty": (lambda raw: b"", "whole header"),
    "a pickle": (lambda raw: b"\x80\x04" + 20 * b"}", "pickle"),
    "another shape": (other_shape, r"expected hops of shape \(64, 150\)"),
    "another name": (lambda raw: raw.replace(b'"hops"', b'"pops"', 1), "expected hops of shape"),
    "no checksum": (lambda raw: raw.replace(b'"crc32"', b'"crc31"', 1), "checksum"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_block_is_refused(damage, said: str, tmp_path: Path):
    HopStore.build(ring(), tmp_path / "store")
    path = tmp_path / "store" / "000001.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=said) as caught:
        HopStore.open(tmp_path / "store", ring())[70]
    assert str(path) in str(caught.value)
    assert HopStore.open(tmp_path / "store", ring())[3].shape == (150,)  # what is whole can be read
    with pytest.raises(ValueError, match=said):
        HopStore.build(ring(), tmp_path / "store")


@pytest.mark.parametrize(
    "other",
    [ring(151), ring(directed=False), weighted(), HopGraph.from_edges([(i, (i + 1) % 150) for i in range(149)])],
)
def test_another_graph_is_refused(other: HopGraph, tmp_path: Path):
    HopStore.build(ring(), tmp_path / "store")
    with pytest.raises(ValueError, match="expected hop counts of this graph"):
        HopStore.open(tmp_path / "store", other)
    with pytest.raises(ValueError, match="expected hop counts with graph [0-9a-f]{64}, got [0-9a-f]{64}"):
        HopStore.build(other, tmp_path / "store")
    assert graph_hash(other) != graph_hash(ring())


def test_what_else_was_begun_is_not_mixed_in(tmp_path: Path):
    HopStore.build(weighted(), tmp_path / "store", [1, 2])
    for options, said in [
        ({"reverse": True}, "reverse True, got False"),
        ({"limit": 3.0}, "limit 3.0, got None"),
        ({"weighted": False}, "distances hops, got float32"),
        ({"dtype": torch.float64}, "distances float64, got float32"),
    ]:
        with pytest.raises(ValueError, match=said):
            HopStore.build(weighted(), tmp_path / "store", [1, 2], **options)
    with pytest.raises(ValueError, match=re.escape("sources [2, 1], got [1, 2]")):
        HopStore.build(weighted(), tmp_path / "store", [2, 1])
    assert HopStore.build(weighted(), tmp_path / "store", [1, 2], limit=math.inf).nodes == 150


HEADERS = {
    "no JSON": (b"{", "not valid JSON"),
    "a list": (b"[]", "JSON object"),
    "another format": (json.dumps({"format": "2"}).encode(), "expected the format"),
    "no sources": (None, "sources: expected node numbers"),
}


@pytest.mark.parametrize(("header", "said"), HEADERS.values(), ids=HEADERS)
def test_a_bad_header_is_refused(header: bytes | None, said: str, tmp_path: Path, unchecked):
    HopStore.build(ring(), tmp_path / "store")
    path = tmp_path / "store" / "hops.json"
    whole = json.loads(path.read_text())
    path.write_bytes(header or json.dumps({**whole, "sources": None}).encode())
    with pytest.raises(ValueError, match=said):
        HopStore.open(tmp_path / "store", ring())


def test_foreign_places_are_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="'thesis.txt'"):
        HopStore.build(ring(), tmp_path)
    with pytest.raises(FileExistsError, match="got a file"):
        HopStore.build(ring(), tmp_path / "thesis.txt")
    with pytest.raises(FileNotFoundError, match="none above it"):
        HopStore.build(ring(), tmp_path / "a" / "b")
    with pytest.raises(FileNotFoundError, match="see HopStore.build"):
        HopStore.open(tmp_path, ring())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_rows_are_copies(tmp_path: Path):
    store = HopStore.build(ring(), tmp_path / "store")
    store[0].zero_()
    store[:].zero_()
    assert np.array_equal(store[0].numpy(), np.arange(150))
