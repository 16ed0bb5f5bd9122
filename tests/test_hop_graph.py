"""Hop graphs: links from names, numbers and tensors, the look-up of links, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import HopGraph, graph

NUMBERS = [(2, 0), (0, 1), (2, 1), (0, 1), (1, 1)]
SORTED = [[0, 1], [2, 0], [2, 1]]
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20)


@pytest.mark.parametrize(
    "edges",
    [
        NUMBERS,
        tuple(NUMBERS),
        [list(pair) for pair in NUMBERS],
        np.array(NUMBERS),
        torch.tensor(NUMBERS),
        torch.tensor(NUMBERS, dtype=torch.int32),
        torch.tensor(NUMBERS, dtype=torch.uint8),
        torch.tensor(NUMBERS).T.contiguous().T,
    ],
    ids=["tuples", "tuple", "lists", "numpy", "int64", "int32", "uint8", "strided"],
)
def test_links_are_sorted_without_repeats_and_self_loops(edges, unchecked):
    made = HopGraph.from_edges(edges)
    assert made.edges.tolist() == SORTED
    assert made.edges.dtype == torch.int64
    assert made.names == ("0", "1", "2")
    assert len(made) == 3


def test_names_come_in_the_order_of_their_first_mention():
    made = HopGraph.from_edges([("c", "a"), ("b", "a"), ("c", "a"), ("b", "b")])
    assert made.names == ("c", "a", "b")
    assert made.edges.tolist() == [[0, 1], [2, 1]]


def test_given_names_fix_the_order_and_add_lonely_nodes():
    made = HopGraph.from_edges([("c", "a")], names=["a", "b", "c"])
    assert made.names == ("a", "b", "c")
    assert made.edges.tolist() == [[2, 0]]
    by_number = HopGraph.from_edges([(2, 0)], names=["a", "b", "c"])
    assert (by_number.names, by_number.edges.tolist()) == (made.names, made.edges.tolist())


def test_numpy_strings_become_names(unchecked):
    assert HopGraph.from_edges(np.array([["a", "b"]])).names == ("a", "b")


def test_undirected_links_go_both_ways_once():
    made = HopGraph.from_edges([(0, 1), (1, 0), (1, 2), (2, 2)], directed=False)
    assert made.edges.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert not made.directed


def test_no_links_make_a_graph_of_lonely_nodes():
    assert len(HopGraph.from_edges([])) == 0
    made = HopGraph.from_edges([], names=["a", "b"])
    assert (len(made), tuple(made.edges.shape)) == (2, (0, 2))
    only_loops = HopGraph.from_edges([(0, 0), (1, 1)])
    assert (len(only_loops), tuple(only_loops.edges.shape)) == (2, (0, 2))


def test_the_graph_does_not_follow_later_changes_to_the_tensor():
    edges = torch.tensor([[0, 1], [1, 2]])
    made = HopGraph.from_edges(edges)
    edges.zero_()
    assert made.edges.tolist() == [[0, 1], [1, 2]]


@given(PAIRS, st.booleans())
def test_links_are_the_set_of_given_pairs(pairs: list[tuple[int, int]], directed: bool):
    made = HopGraph.from_edges(pairs, names="abcdefg", directed=directed)
    expected = {pair for pair in pairs if pair[0] != pair[1]}
    if not directed:
        expected |= {(b, a) for a, b in expected}
    assert [tuple(edge) for edge in made.edges.tolist()] == sorted(expected)


# Looking links up


@given(PAIRS)
def test_table_and_search_find_the_same_links(pairs: list[tuple[int, int]]):
    everywhere = torch.arange(7)
    found = []
    for limit in (graph._DENSE, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph, "_DENSE", limit)
            made = HopGraph.from_edges(pairs, names="abcdefg")
            found.append(made.has_links(everywhere[:, None], everywhere))
            assert (made._dense is None) == (limit == 0)
    expected = [[(a, b) in pairs and a != b for b in range(7)] for a in range(7)]
    assert found[0].tolist() == found[1].tolist() == expected


def test_search_on_a_graph_too_large_for_a_table():
    generator = torch.Generator().manual_seed(0)
    count = graph._DENSE + 500
    edges = torch.randint(count, (2000, 2), generator=generator)
    made = HopGraph.from_edges(edges, names=[str(i) for i in range(count)])
    assert made._dense is None
    links = {tuple(edge) for edge in made.edges.tolist()}
    assert bool(made.has_links(made.edges[:, 0], made.edges[:, 1]).all())
    asked = torch.cat([torch.randint(count, (5000, 2), generator=generator), made.edges.flip(1)])
    asked = torch.cat([asked, torch.tensor([[0, 0], [count - 1, count - 1], [0, count - 1], [count - 1, 0]])])
    assert made.has_links(asked[:, 0], asked[:, 1]).tolist() == [tuple(pair) in links for pair in asked.tolist()]


@pytest.mark.parametrize("count", [3, 50_000])
def test_no_links_are_found_where_there_are_none(count: int):
    # At 50,000 nodes a table would take 2.5 GB.
    made = HopGraph.from_edges([], names=[str(i) for i in range(count)])
    nodes = torch.arange(3)
    assert made.has_links(nodes[:, None], nodes).tolist() == [[False] * 3] * 3


@pytest.mark.parametrize("limit", [graph._DENSE, 0])
def test_shapes_broadcast(limit: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph, "_DENSE", limit)
    made = HopGraph.from_edges([(0, 1), (1, 2)])
    for a, b in itertools.product([(2, 1), (1, 3), (2, 3), (3,), (), (0, 3)], repeat=2):
        try:
            shape = torch.broadcast_shapes(a, b)
        except RuntimeError:
            continue
        found = made.has_links(torch.zeros(a, dtype=torch.long), torch.ones(b, dtype=torch.long))
        assert found.shape == shape
        assert bool(found.all())


# What is refused

BAD = {
    "floats": (torch.tensor([[0.0, 1.0]]), None, "integers of shape"),
    "python floats": ([(0.0, 1.0)], None, "integers of shape"),
    "booleans": (torch.tensor([[True, False]]), None, "integers of shape"),
    "complex": (torch.tensor([[0j, 1j]]), None, "integers of shape"),
    "triples": ([(0, 1, 2)], None, "pairs"),
    "triples in a tensor": (torch.zeros(4, 3, dtype=torch.long), None, "integers of shape"),
    "a row": (torch.tensor([0, 1]), None, "integers of shape"),
    "ragged": ([(0, 1), (2,)], None, r"\(2,\)"),
    "ragged names": ([("a", "b"), ("a",)], None, r"\('a',\)"),
    "words, which are no pairs": (["dog", "cat"], None, "'dog'"),
    "words of two letters": (["ab", "cd"], None, "'ab'"),
    "a name and a number": ([("a", 3)], None, "3"),
    "a number and a name": ([(3, "a")], None, "3"),
    "none inside": ([(0, None)], None, "pairs of names or of node numbers"),
    "none": (None, None, "NoneType"),
    "beyond int64": ([(2**70, 0)], None, "edges"),
    "negative": ([(0, -1)], None, "from 0 to 0, got -1"),
    "out of range": ([(0, 5)], ["a", "b"], "from 0 to 1, got 0 to 5"),
    "negative with names": ([(-1, 0)], ["a", "b"], "from 0 to 1, got -1"),
    "a key read as a number": ([(2**62, 1)], None, "without large gaps"),
    "repeated names": ([(0, 1)], ["a", "a"], "different name"),
    "repeated names of named links": ([("a", "b")], ["a", "b", "a"], "different name"),
    "a number for names": ([(0, 1)], 5, "names: expected one name a node, got 5"),
    "unknown name": ([("a", "b")], ["a"], "'b' is not among the 1 names"),
    "numbers without nodes": ([(0, 1)], [], "names|node numbers"),
}


@pytest.mark.parametrize(("edges", "names", "said"), BAD.values(), ids=BAD)
def test_bad_links_are_refused(edges, names, said: str, unchecked):
    with pytest.raises(ValueError, match=said) as caught:
        HopGraph.from_edges(edges, names=names)
    assert str(caught.value).startswith(("edges: ", "names: "))
