"""Hop graphs from networkx, PyG and files, and back; what is refused."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import from_networkx as pyg_from_networkx

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.graph_files import read_graph, write_graph
from hyperspectral_geo.hyperbolic.graph_formats import from_networkx, from_pyg, to_networkx, to_pyg

LINKS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.floats(1e-6, 1e6)), max_size=20)


def made(links: list[tuple[int, int, float]], directed: bool, weighted: bool) -> HopGraph:
    return HopGraph.from_edges(
        torch.tensor([link[:2] for link in links], dtype=torch.int64).reshape(-1, 2),
        names="abcdefg",
        directed=directed,
        lengths=[link[2] for link in links] if weighted else None,
    )


def assert_same(found: HopGraph, expected: HopGraph) -> None:
    assert found.names == expected.names
    assert found.directed == expected.directed
    assert torch.equal(found.edges, expected.edges)
    assert (found.lengths is None) == (expected.lengths is None)
    if found.lengths is not None and expected.lengths is not None:
        assert torch.equal(found.lengths, expected.lengths)


def by_name(graph: HopGraph) -> dict[tuple[str, str], float]:
    lengths = [1.0] * len(graph.edges) if graph.lengths is None else graph.lengths.tolist()
    return {(graph.names[a], graph.names[b]): x for (a, b), x in zip(graph.edges.tolist(), lengths, strict=True)}


@given(LINKS, st.booleans(), st.booleans())
def test_networkx_and_back(links: list, directed: bool, weighted: bool):
    graph = made(links, directed, weighted)
    there = to_networkx(graph)
    assert there.is_directed() == directed
    assert there.number_of_edges() == len(graph.edges) // (1 if directed else 2)
    back = from_networkx(there, weight="weight" if weighted else None)
    assert (back.loops, back.repeats) == (0, 0)
    assert_same(back, graph)


@given(LINKS, st.booleans(), st.booleans())
def test_pyg_and_back(links: list, directed: bool, weighted: bool):
    graph = made(links, directed, weighted)
    data = to_pyg(graph)
    data.validate()
    assert data.num_nodes == 7
    assert data.names == list("abcdefg")
    back = from_pyg(data, directed=directed, weights="length" if weighted else None)
    assert (back.loops, back.repeats) == (0, 0)
    assert_same(back, graph)


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.tsv.gz", "x.csv.gz", "x.parquet"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("directed", [False, True])
def test_files_and_back(name: str, weighted: bool, directed: bool, tmp_path: Path):
    links = [(0, 1, 0.1), (1, 2, 1 / 3), (2, 0, 1e-300), (2, 4, 12345.678901234567)]
    graph = made(links, directed, weighted)
    first = write_graph(graph, tmp_path / name).read_bytes()
    back = read_graph(tmp_path / name, directed=directed)
    assert (back.loops, back.repeats) == (0, 0)
    assert by_name(back) == by_name(graph)
    assert write_graph(graph, tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_hard_names_survive(name: str, tmp_path: Path):
    graph = HopGraph.from_edges([("#1", 'say "hi"'), ("a, b", " c "), ("tab", "Éire €2 \u2028")])
    write_graph(graph, tmp_path / name)
    assert by_name(read_graph(tmp_path / name)) == by_name(graph)


@pytest.mark.parametrize("name", ["#1", "a\tb", "a\nb", "a\rb"])
def test_names_that_tabs_cannot_separate_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match="use .csv"):
        write_graph(HopGraph.from_edges([("x", name)]), tmp_path / "x.tsv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x", "x.txt", "x.gz", "x.json", "x.parquet.gz"])
def test_other_suffixes_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match="rename it"):
        write_graph(HopGraph.from_edges([("a", "b")]), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_probabilities_gives_the_likeliest_walks(tmp_path: Path):
    generator = np.random.default_rng(0)
    links = [
        (a, b, p) for a, b, p in zip(*generator.integers(0, 9, (2, 40)), generator.random(40), strict=True) if a != b
    ]
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress("".join(f"{a},{b},{p}\n" for a, b, p in links).encode()))
    graph = read_graph(tmp_path / "p.csv.gz", weights="probability")
    assert graph.lengths is not None
    matrix = csr_array((graph.lengths.numpy(), graph.edges.T.numpy()), shape=(len(graph), len(graph)))
    chance = np.exp(-dijkstra(matrix))
    best = np.eye(9)  # by products and maxima, without logarithms
    for _ in range(9):
        for a, b, p in links:
            best[:, b] = np.maximum(best[:, b], best[:, a] * p)
    order = [int(name) for name in graph.names]
    np.testing.assert_allclose(chance, best[np.ix_(order, order)], rtol=1e-12)


# networkx


def test_nodes_that_are_no_strings_are_named_by_str():
    graph = networkx.DiGraph([((0, 1), 2)])
    assert from_networkx(graph).names == ("(0, 1)", "2")


def test_lonely_nodes_stay():
    graph = networkx.Graph()
    graph.add_nodes_from("abc")
    assert (len(from_networkx(graph)), len(from_networkx(graph).edges)) == (3, 0)
    assert len(from_networkx(networkx.Graph())) == 0


@pytest.mark.parametrize("kind", [networkx.MultiGraph, networkx.MultiDiGraph])
def test_of_parallel_links_the_shortest_stays(kind: type):
    graph = kind()
    graph.add_weighted_edges_from([("a", "b", 3), ("a", "b", 2), ("a", "b", 5), ("b", "b", 1)])
    found = from_networkx(graph, weight="weight")
    assert (found.repeats, found.loops) == (2, 1)
    assert set(by_name(found).values()) == {2.0}


def test_probabilities_on_links():
    graph = networkx.DiGraph()
    graph.add_edge("rain", "wet", p=0.5)
    graph.add_edge("wet", "skid", p=1)
    found = from_networkx(graph, weight="p", weights="probability", certain=0.75)
    assert by_name(found) == pytest.approx({("rain", "wet"): math.log(2), ("wet", "skid"): -math.log(0.75)})
    with pytest.raises(ValueError, match="link 'wet' → 'skid': expected a probability below 1"):
        from_networkx(graph, weight="p", weights="probability")


BAD_NETWORKX = {
    "no graph": (lambda: {"a": "b"}, {}, "expected a networkx graph, got dict"),
    "none": (lambda: None, {}, "got NoneType"),
    "one name twice": (lambda: networkx.Graph([(1, "1")]), {}, "got 1 and '1'"),
    "no attribute": (
        lambda: networkx.path_graph(3),
        {"weight": "km"},
        "link 0 → 1: expected a number as 'km', got None",
    ),
    "a word": (lambda: networkx.Graph([("a", "b", {"km": "far"})]), {"weight": "km"}, "got 'far'"),
    "negative": (lambda: networkx.Graph([("a", "b", {"km": -1})]), {"weight": "km"}, "'a' → 'b': expected a positive"),
    "nan": (lambda: networkx.Graph([("a", "b", {"km": math.nan})]), {"weight": "km"}, "got nan"),
    "unknown kind": (lambda: networkx.Graph([("a", "b", {"km": 1})]), {"weight": "km", "weights": "x"}, "got 'x'"),
}


@pytest.mark.parametrize(("graph", "options", "said"), BAD_NETWORKX.values(), ids=BAD_NETWORKX)
def test_bad_networkx_graphs_are_refused(graph, options: dict, said: str, unchecked):
    with pytest.raises(ValueError, match=said):
        from_networkx(graph(), **options)


# PyG

ROW = torch.tensor([[0, 1], [1, 2]])


def test_pyg_without_names_is_numbered_and_keeps_lonely_nodes():
    assert from_pyg(Data(edge_index=ROW, num_nodes=5)).names == ("0", "1", "2", "3", "4")
    assert from_pyg(Data(edge_index=ROW, x=torch.zeros(4, 2))).names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "weights", [{"edge_weight": torch.tensor([2, 3])}, {"edge_attr": torch.tensor([[2.0], [3.0]])}]
)
def test_weights_of_pyg_are_lengths_or_probabilities_or_nothing(weights: dict):
    data = Data(edge_index=ROW, num_nodes=3, **weights)
    assert list(by_name(from_pyg(data, weights="length")).values()) == [2.0, 3.0]
    assert from_pyg(data, weights="ignore").lengths is None
    with pytest.raises(ValueError, match="say weights="):
        from_pyg(data)
    halves = Data(edge_index=ROW, num_nodes=3, **{key: 1 / value for key, value in weights.items()})
    found = list(by_name(from_pyg(halves, weights="probability")).values())
    np.testing.assert_allclose(found, np.log([2, 3]), rtol=1e-6)


def test_features_of_links_are_no_lengths():
    assert from_pyg(Data(edge_index=ROW, num_nodes=3, edge_attr=torch.rand(2, 8))).lengths is None


def test_pyg_reads_the_same_graph_as_its_own_converter():
    source = networkx.gnp_random_graph(30, 0.2, seed=0, directed=True)
    assert_same(from_pyg(pyg_from_networkx(source)), from_networkx(source))


def sparse() -> Data:
    return Data(adj_t=torch.eye(3).to_sparse())


BAD_PYG = {
    "several kinds": (HeteroData(), {}, "for HeteroData, data.to_homogeneous"),
    "a tensor": (ROW, {}, "expected a PyG Data, got Tensor"),
    "none": (None, {}, "got NoneType"),
    "no links": (Data(num_nodes=2), {}, "edge_index: expected a tensor"),
    "adjacency only": (sparse(), {}, "adj_t has .coo"),
    "turned": (Data(edge_index=torch.zeros(3, 2, dtype=torch.long), num_nodes=1), {}, r"got \(3, 2\)"),
    "floats": (Data(edge_index=ROW.float(), num_nodes=3), {}, "expected integers"),
    "out of range": (Data(edge_index=ROW, num_nodes=2), {}, "from 0 to 1, got 0 to 2"),
    "negative": (Data(edge_index=-ROW, num_nodes=3), {}, "got -2"),
    "names too few": (Data(edge_index=ROW, num_nodes=3, names=["a"]), {}, "names: expected one for each of 3 nodes"),
    "names that are numbers": (Data(edge_index=ROW, num_nodes=3, names=[1, 2, 3]), {}, "names: expected a list"),
    "names that are one": (Data(edge_index=ROW, num_nodes=3, names="abc"), {}, "names: expected a list"),
    "names twice": (Data(edge_index=ROW, num_nodes=3, names=["a", "a", "b"]), {}, "different name"),
    "no weights": (Data(edge_index=ROW, num_nodes=3), {"weights": "length"}, "got neither"),
    "short": (Data(edge_index=ROW, num_nodes=3, edge_weight=torch.ones(1)), {"weights": "length"}, "each of 2 links"),
    "zero": (
        Data(edge_index=ROW, num_nodes=3, edge_weight=torch.zeros(2)),
        {"weights": "length"},
        "edge_weight 0: exp",
    ),
    "unknown kind": (Data(edge_index=ROW, num_nodes=3), {"weights": "cost"}, "weights: expected"),
}


@pytest.mark.parametrize(("data", "options", "said"), BAD_PYG.values(), ids=BAD_PYG)
def test_bad_pyg_data_is_refused(data, options: dict, said: str, unchecked):
    for directed in (True, False):
        with pytest.raises(ValueError, match=said):
            from_pyg(data, directed=directed, **options)


def test_one_direction_of_undirected_links_will_do():
    both, one = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), ROW
    for links in (both, one):
        found = from_pyg(Data(edge_index=links, num_nodes=3), directed=False)
        assert (found.edges.tolist(), found.repeats) == ([[0, 1], [1, 0], [1, 2], [2, 1]], 0)
    uneven = Data(edge_index=both, num_nodes=3, edge_weight=torch.tensor([1.0, 2, 3, 3]))
    found = from_pyg(uneven, directed=False, weights="length")
    assert found.lengths is not None
    assert found.lengths.tolist() == [1, 1, 3, 3]


def test_the_class_reads_all_three(tmp_path: Path):
    graph = HopGraph.from_edges([("a", "b"), ("b", "c")], lengths=[0.5, 2.0])
    write_graph(graph, tmp_path / "x.tsv")
    assert_same(HopGraph.read(tmp_path / "x.tsv"), graph)
    assert_same(HopGraph.from_networkx(to_networkx(graph), weight="weight"), graph)
    assert_same(HopGraph.from_pyg(to_pyg(graph), weights="length"), graph)
