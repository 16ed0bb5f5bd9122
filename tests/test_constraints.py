"""Statements of people: made, written and read again; every fault of a file named with its line; links reweighted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import HopGraph, hop_counts
from hyperspectral_geo.hyperbolic.feedback import (
    AboutHops,
    Closer,
    Constraint,
    Farther,
    Group,
    Link,
    Nearer,
    Pin,
    constraint_of,
    read_constraints,
    reweighted,
    write_constraints,
)

NAMES = ("Beer", "Yeast", "Hops", "Steel", "Éire\n\u2028", 'a"b\\')
name = st.sampled_from(NAMES)
two = st.lists(name, min_size=2, max_size=2, unique=True)
three = st.lists(name, min_size=3, max_size=3, unique=True)
several = st.lists(name, min_size=2, unique=True).map(tuple)
point = st.none() | st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=3).map(tuple)
hops = st.floats(1e-6, 1e6) | st.integers(1, 1_000_000)
extra: dict[str, Any] = {
    "strength": st.floats(0, 1e3, exclude_min=True) | st.integers(1, 1000),
    "author": st.none() | st.text(max_size=200),
    "time": st.sampled_from([None, "2026-11-22T10:00:00Z", "2026-11-22T10:00:00+02:00", "2026-11-22"]),
}
statements = st.one_of(
    st.tuples(st.sampled_from([Closer, Farther]), two, st.fixed_dictionaries({"both": st.booleans(), **extra})),
    st.tuples(st.just(AboutHops), two, st.fixed_dictionaries({"hops": hops, "both": st.booleans(), **extra})),
    st.tuples(st.just(Nearer), three, st.fixed_dictionaries({"toward": st.booleans(), **extra})),
    st.tuples(st.just(Group), st.tuples(several), st.fixed_dictionaries({"hops": hops, **extra})),
    st.tuples(st.just(Pin), st.tuples(name), st.fixed_dictionaries({"point": point, **extra})),
    st.tuples(st.just(Link), two, st.fixed_dictionaries({"length": st.none() | hops, **extra})),
)
"""Class, arguments and options: made in the test, since checks of types draw from the global generator."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("said")


@given(st.lists(statements, min_size=1, max_size=6))
def test_what_was_written_is_read(folder: Path, drawn: list):
    said: list[Constraint] = [cls(*arguments, **options) for cls, arguments, options in drawn]
    path = write_constraints(folder / "said.jsonl", said)
    found = read_constraints(path, names=NAMES)
    assert list(found) == said
    assert [one.where for one in found] == [f"said.jsonl, line {i}" for i in range(1, len(said) + 1)]
    assert [constraint_of(one.as_record()) for one in found] == said


def test_the_header_of_a_journal_is_passed_over(tmp_path: Path):
    path = tmp_path / "page.jsonl"
    path.write_text('{"kind": "journal", "format": 1, "model": "x", "points": 3}\n{"kind": "pin", "name": "Beer"}')
    assert read_constraints(path) == (Pin("Beer"),)


PAIR = {"kind": "closer", "source": "Beer", "target": "Yeast"}
NEARER = {"kind": "nearer", "anchor": "Beer", "near": "Hops", "far": "Steel"}
GROUP = {"kind": "group", "names": ["Beer", "Hops"], "hops": 2}
PIN = {"kind": "pin", "name": "Beer"}
LINK = {"kind": "link", "source": "Beer", "target": "Hops", "length": 0.5}

BAD_RECORDS: dict[str, tuple[Any, str]] = {
    "no object": ([1, 2], "expected a JSON object as line, got list"),
    "a number": (3, "expected a JSON object"),
    "no kind": ({"source": "Beer"}, "kind: expected one of closer, farther"),
    "unknown kind": ({**PAIR, "kind": "close"}, "kind: expected one of closer, farther, .* got 'close'"),
    "kind is a list": ({**PAIR, "kind": ["closer"]}, "kind: expected one of"),
    "header later": ({"kind": "journal"}, "kind: expected one of"),
    "unknown field": ({**PAIR, "weight": 2}, "'weight': expected no such field in closer; known are kind, source"),
    "where": ({**PAIR, "where": "here"}, "'where': expected no such field"),
    "hops of closer": ({**PAIR, "hops": 2}, "'hops': expected no such field in closer"),
    "no target": ({"kind": "closer", "source": "Beer"}, "target: expected in closer, got none"),
    "self pair": ({**PAIR, "target": "Beer"}, "target: expected another concept than the source, got 'Beer'"),
    "source no text": ({**PAIR, "source": 3}, "source: expected the name of a concept, got 3"),
    "half a character": ({**PAIR, "source": "\ud800"}, "the line is not valid JSON"),
    "empty source": ({**PAIR, "source": ""}, "source: expected the name of a concept, got ''"),
    "source null": ({**PAIR, "source": None}, "source: expected the name of a concept, got None"),
    "strength 0": ({**PAIR, "strength": 0}, "strength: expected a number above 0"),
    "strength negative": ({**PAIR, "strength": -1}, "strength: expected a number above 0"),
    "strength huge": ({**PAIR, "strength": 10**400}, "strength: expected a number above 0"),
    "strength text": ({**PAIR, "strength": "1"}, "strength: expected a number above 0"),
    "strength true": ({**PAIR, "strength": True}, "strength: expected a number above 0"),
    "both is 1": ({**PAIR, "both": 1}, "both: expected true or false, got 1"),
    "author a list": ({**PAIR, "author": ["ann"]}, "author: expected a text"),
    "author long": ({**PAIR, "author": "a" * 201}, "author: expected a text of at most 200"),
    "time": ({**PAIR, "time": "yesterday"}, "time: expected a time such as"),
    "hops 0": ({**PAIR, "kind": "hops", "hops": 0}, "hops: expected a number of hops from 1e-06 to"),
    "hops too few": ({**PAIR, "kind": "hops", "hops": 1e-300}, "hops: expected a number of hops from 1e-06 to"),
    "no hops": ({**PAIR, "kind": "hops"}, "hops: expected in hops, got none"),
    "hops text": ({**PAIR, "kind": "hops", "hops": "two"}, "hops: expected a number of hops"),
    "near is the anchor": ({**NEARER, "near": "Beer"}, "near: expected another concept than the anchor"),
    "near is far": ({**NEARER, "far": "Hops"}, "far: expected another concept than anchor and near"),
    "toward": ({**NEARER, "toward": "yes"}, "toward: expected true or false"),
    "group of one": ({**GROUP, "names": ["Beer"]}, "names: expected at least two names, each once"),
    "group repeats": ({**GROUP, "names": ["Beer", "Beer"]}, "names: expected at least two names, each once"),
    "group is a text": ({**GROUP, "names": "Beer"}, "names: expected at least two names"),
    "group of lists": ({**GROUP, "names": [["Beer"], ["Hops"]]}, "names: expected at least two names"),
    "point is empty": ({**PIN, "point": []}, "point: expected a list of coordinates"),
    "point of texts": ({**PIN, "point": ["1"]}, "point: expected a list of coordinates"),
    "point is far": ({**PIN, "point": [1e4]}, "point: expected a list of coordinates"),
    "no length": ({k: v for k, v in LINK.items() if k != "length"}, "length: expected in link, got none"),
    "length 0": ({**LINK, "length": 0}, "length: expected a length above 0 .* or null"),
    "unknown name": ({**PAIR, "target": "Yeats"}, "'Yeats' is not one of the 4 concepts; similar: 'Yeast'"),
    "two unknown names": (
        {**PAIR, "source": "Bier", "target": "Hop"},
        "'Bier' is not .* similar: 'Beer'; 'Hop' is not",
    ),
}


@pytest.mark.parametrize(("record", "told"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_faults_are_named_with_file_and_line(record: Any, told: str, tmp_path: Path, unchecked):
    path = tmp_path / "said.jsonl"
    path.write_text(json.dumps(PAIR) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=f"said.jsonl: line 2: .*{told}.*Nothing was taken over"):
        read_constraints(path, names=("Beer", "Yeast", "Hops", "Steel"))


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "expected at least one statement, got none"),
    "only a header": (b'{"kind": "journal"}\n', "expected at least one statement"),
    "not JSON": (b"closer Beer Yeast\n", "line 1: the line is not valid JSON"),
    "cut short": (b'{"kind": "pin", "na', "line 1: the line is not valid JSON"),
    "key twice": (b'{"kind": "pin", "name": "a", "name": "b"}\n', "line 1: .*a key occurs twice"),
    "NaN": (b'{"kind": "pin", "name": "a", "point": [NaN]}\n', "line 1: .*NaN is no number of JSON"),
    "Infinity": (b'{"kind": "pin", "name": "a", "strength": Infinity}\n', "line 1: .*Infinity is no number"),
    "infinite by exponent": (b'{"kind": "pin", "name": "a", "strength": 1e999}\n', "line 1: strength: expected"),
    "not UTF-8": (b'{"kind": "pin", "name": "\xff"}\n', "line 1: the line is not valid JSON"),
    "byte order mark": (b'\xef\xbb\xbf{"kind": "pin", "name": "a"}\n', "line 1: expected UTF-8 without a byte order"),
    "UTF-16": ('{"kind": "pin", "name": "a"}\n'.encode("utf-16"), "line 1: the line is not valid JSON"),
    "huge line": (b'{"kind": "pin", "name": "' + b"a" * (3 << 20) + b'"}\n', "line 1: expected a line of at most"),
    "blank line": (
        b'{"kind": "pin", "name": "a"}\n\n{"kind": "pin", "name": "b"}\n',
        "line 2: expected a JSON object, got an empty",
    ),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "line 1: the line is not valid JSON"),
    "a zero byte": (b"\0\n", "line 1: the line is not valid JSON"),
}


@pytest.mark.parametrize(("content", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_damaged_files_are_refused(content: bytes, told: str, tmp_path: Path, unchecked):
    path = tmp_path / "said.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"said.jsonl: {told}"):
        read_constraints(path)


def test_up_to_ten_faults_are_told_at_once(tmp_path: Path, unchecked):
    path = tmp_path / "said.jsonl"
    path.write_text("".join(json.dumps({**PIN, "name": i}) + "\n" for i in range(15)))
    with pytest.raises(ValueError, match="line 1: .*line 10: .*and perhaps more") as caught:
        read_constraints(path)
    assert "line 11" not in str(caught.value)


def test_half_a_character_is_no_name():
    with pytest.raises(ValueError, match="name: expected the name of a concept"):
        Pin("\ud800")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="expected a regular file"):
        read_constraints(tmp_path)
    with pytest.raises(FileNotFoundError, match="none.jsonl: expected a file of JSON lines, got no such file"):
        read_constraints(tmp_path / "none.jsonl")


# Links before hops are counted


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([None, 1, 0.5, 3.0])), max_size=5),
    st.booleans(),
)
def test_reweighted_graphs_have_the_distances_of_networkx(edges, changes, directed: bool):
    graph = HopGraph.from_edges(edges, names="abcde", directed=directed)
    said = [Link("abcde"[a], "abcde"[b], length) for a, b, length in changes if a != b]
    peer = nx.DiGraph() if directed else nx.Graph()
    peer.add_nodes_from(range(5))
    peer.add_edges_from(((a, b) for a, b in edges if a != b), weight=1)
    for link in said:
        a, b = ("abcde".index(name) for name in link.concepts)
        if link.length is not None:
            peer.add_edge(a, b, weight=link.length)
        elif peer.has_edge(a, b):
            peer.remove_edge(a, b)
    if not peer.edges and said:
        with pytest.raises(ValueError, match="expected at least one link that stays"):
            reweighted(graph, said)
        return
    changed = reweighted(graph, said)
    assert changed.directed == directed
    found = hop_counts(changed)
    for a, lengths in nx.all_pairs_dijkstra_path_length(peer):
        for b in range(5):
            there = float(found[a, b])
            assert there == pytest.approx(lengths[b]) if b in lengths else there in (-1, float("inf"))


def test_a_graph_without_new_lengths_stays_one_of_hops():
    graph = HopGraph.from_edges([("a", "b"), ("b", "c")])
    assert reweighted(graph, [Closer("a", "b")]) is graph
    changed = reweighted(graph, [Link("a", "c", 1), Link("a", "b", None)])
    assert changed.lengths is None
    assert changed.edges.tolist() == [[0, 2], [1, 2]]
    with pytest.raises(ValueError, match="'B' is not one of the 3 concepts; similar: 'b'"):
        reweighted(graph, [Link("a", "B", 1)])
