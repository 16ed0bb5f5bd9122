"""Lists of links in files: what is read, in which order, with which lengths, and what is refused on which line."""

from __future__ import annotations

import builtins
import gzip
import math
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.data import read_edge_list
from hyperspectral_geo.data.edge_list import EdgeList
from hyperspectral_geo.data.link_lengths import link_lengths


def pairs(found: EdgeList) -> list[tuple[str, str]]:
    return [(found.names[a], found.names[b]) for a, b in found.edges.tolist()]


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return file


AB = [("a", "b"), ("b", "c")]

GOOD = {
    "tabs": ("x.tsv", b"a\tb\nb\tc\n", {}, AB, None),
    "without the last line end": ("x.tsv", b"a\tb\nb\tc", {}, AB, None),
    "windows": ("x.tsv", b"a\tb\r\nb\tc\r\n", {}, AB, None),
    "old mac": ("x.csv", b"a,b\rb,c\r", {}, AB, None),
    "byte order mark": ("x.csv", b"\xef\xbb\xbfa,b\nb,c\n", {}, AB, None),
    "byte order mark and header": ("x.csv", b"\xef\xbb\xbfsource,target\na,b\nb,c\n", {}, AB, None),
    "comments and blank lines": ("x.tsv", b"# one\n\na\tb\n#two\tthree\n \nb\tc\n", {}, AB, None),
    "comments in csv": ("x.csv", b'# "one\n\na,b\n#,"\nb,c\n', {}, AB, None),
    "blanks": ("x.txt", b"a b\nb   c\n", {}, AB, None),
    "tabs in txt": ("x.txt", b"a b\tb c\n", {}, [("a b", "b c")], None),
    "gzip": ("x.tsv.gz", b"a\tb\nb\tc\n", {}, AB, None),
    "gzip of csv": ("x.csv.gz", b"a,b\nb,c\n", {}, AB, None),
    "capital suffix": ("x.CSV", b"a,b\nb,c\n", {}, AB, None),
    "blanks after commas": ("x.csv", b'a, b\nb, "c"\n', {}, AB, None),
    "quotes": ("x.csv", b'"Paris, Texas","say ""hi"""\n', {}, [("Paris, Texas", 'say "hi"')], None),
    "quotes mean nothing between tabs": ("x.tsv", b'"a\tb"\n', {}, [('"a', 'b"')], None),
    "a quoted number sign": ("x.csv", b'"#1",b\n', {}, [("#1", "b")], None),
    "semicolons": ("x.dat", b"a;b\nb;c\n", {"delimiter": ";"}, AB, None),
    "blanks asked for": ("x.edges", b"a b\nb c\n", {"delimiter": " "}, AB, None),
    "letters of the world": ("x.tsv", "Éire\t€2\n".encode(), {}, [("Éire", "€2")], None),
    "header said": ("x.tsv", b"from\tto\na\tb\nb\tc\n", {"header": True}, AB, None),
    "no header said": ("x.tsv", b"source\ttarget\na\tb\n", {"header": False}, [("source", "target"), ("a", "b")], None),
    "repeats and self-loops": ("x.tsv", b"a\tb\na\tb\na\ta\n", {}, [("a", "b"), ("a", "b"), ("a", "a")], None),
    "lengths": ("x.tsv", b"a\tb\t2\nb\tc\t0.5\n", {"weights": "length"}, AB, [2, 0.5]),
    "lengths by header": ("x.csv", b"Source,Target,Length\na,b,2\nb,c,1e-3\n", {}, AB, [2, 1e-3]),
    "probabilities": ("x.csv", b"a,b,.5\nb,c, .25\n", {"weights": "probability"}, AB, [math.log(2), math.log(4)]),
    "probabilities by header": (
        "x.tsv",
        b"source\ttarget\tprobability\na\tb\t.5\nb\tc\t.5\n",
        {},
        AB,
        [math.log(2)] * 2,
    ),
    "weights by header": ("x.tsv", b"source\ttarget\tweight\na\tb\t2\nb\tc\t3\n", {"weights": "length"}, AB, [2, 3]),
    "certain": ("x.csv", b"a,b,.9999\n", {"weights": "probability", "certain": 0.9}, AB[:1], [-math.log(0.9)]),
    "ignored": ("x.tsv", b"a\tb\tnan\t7\nb\tc\n", {"weights": "ignore"}, AB, None),
}


@pytest.mark.parametrize(("name", "content", "options", "expected", "lengths"), GOOD.values(), ids=GOOD)
def test_links_are_read(name: str, content: bytes, options: dict, expected: list, lengths, tmp_path: Path):
    found = read_edge_list(written(tmp_path, name, content), **options)
    assert pairs(found) == expected
    assert list(found.names) == list(dict.fromkeys(end for pair in expected for end in pair))
    assert found.edges.dtype == torch.int64
    if lengths is None:
        assert found.lengths is None
    else:
        assert found.lengths is not None
        assert found.lengths.dtype == torch.float64
        np.testing.assert_allclose(found.lengths, lengths, rtol=1e-14)


def test_nodes_named_by_numbers_are_in_the_order_of_these(tmp_path: Path):
    found = read_edge_list(written(tmp_path, "x.tsv", b"10\t2\n2\t0\n"))
    assert found.names == ("0", "2", "10")
    assert found.edges.tolist() == [[2, 1], [1, 0]]
    mixed = read_edge_list(written(tmp_path, "y.tsv", b"10\t2\n2\tx\n"))
    assert mixed.names == ("10", "2", "x")


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(NAMES, NAMES, st.floats(1e-300, 1e300)), min_size=1, max_size=8))
def test_any_names_survive_quotes_and_parquet(tmp_path_factory, links: list[tuple[str, str, float]]):
    folder = tmp_path_factory.mktemp("names")
    quoted = "".join(
        ",".join('"' + end.replace('"', '""') + '"' for end in link[:2]) + f",{link[2]!r}\n" for link in links
    )
    sources, targets, lengths = map(list, zip(*links, strict=True))
    table = pyarrow.table({"source": sources, "target": targets, "length": lengths})
    pyarrow.parquet.write_table(table, folder / "x.parquet")
    text = read_edge_list(written(folder, "x.csv", quoted.encode()), header=False, weights="length")
    for found in (text, read_edge_list(folder / "x.parquet")):
        assert pairs(found) == [link[:2] for link in links]
        assert found.lengths is not None
        assert found.lengths.tolist() == lengths


BAD = {
    "empty": ("x.tsv", b"", {}, "without any"),
    "comments only": ("x.tsv", b"# a\tb\n", {}, "without any"),
    "a header only": ("x.csv", b"source,target\n", {}, "without any"),
    "empty gzip": ("x.tsv.gz", b"", {}, "without any"),
    "one field": ("x.tsv", b"a\tb\na\n", {}, "line 2: expected source and target, got 1 fields"),
    "the wrong delimiter": ("x.csv", b"a\tb\n", {}, "line 1: .* got 1 fields; check the delimiter"),
    "four fields": ("x.tsv", b"a\tb\tc\td\n", {}, "line 1: .* got 4 fields"),
    "an unquoted comma": ("x.csv", b"a,b\nParis, Texas,b\n", {}, "line 2: .* got 3 fields"),
    "weights nobody spoke for": ("x.tsv", b"a\tb\t2\n", {}, "weights='length', 'probability' or 'ignore'"),
    "weights that a header leaves open": ("x.csv", b"source,target,weight\na,b,2\n", {}, "say what the third is"),
    "missing weight": (
        "x.tsv",
        b"#\na\tb\t2\nb\tc\n",
        {"weights": "length"},
        "line 3: expected source, target and len",
    ),
    "no number": (
        "x.tsv",
        b"a\tb\t2\na\tb\tx\n",
        {"weights": "length"},
        "line 2: expected a number as length, got 'x'",
    ),
    "a header of other words": ("x.tsv", b"from\tto\tw\na\tb\t2\n", {"weights": "length"}, "pass header=True"),
    "empty name": ("x.tsv", b"a\tb\n\tb\n", {}, "line 2: expected a name, got '', an empty one"),
    "blank name": ("x.csv", b'a,b\n\nc," "\n', {}, "line 3: expected a name"),
    "control character": ("x.tsv", b"a\tb\nc\x00\td\n", {}, "line 2: .* control"),
    "utf-16 without mark": ("x.tsv", "a\tb".encode("utf-16-le"), {}, "line 1: .* control"),
    "utf-16": ("x.tsv", "a\tb\n".encode("utf-16"), {}, "line 1: expected UTF-8, got byte 0xff at its place 1"),
    "latin-1": ("x.tsv", b"a\tb\nb\tM\xfcnchen\n", {}, "line 2: expected UTF-8, got byte 0xfc at its place 4"),
    "gzip under another name": ("x.tsv", gzip.compress(b"a\tb\n"), {}, "line 1: expected UTF-8"),
    "an open quote": ("x.csv", b'a,b\n"a,b\nc,d\ne,f\n', {}, "line 4: expected CSV"),
    "a quote over two lines": ("x.csv", b'a,b\n"a\nb",c\n', {}, "line 3: .* from the line before"),
    "text after a quote": ("x.csv", b'"a"x,b\n', {}, "line 1: expected CSV"),
    "unknown suffix": ("x.dat", b"a\tb\n", {}, "pass delimiter="),
    "no suffix": ("links", b"a\tb\n", {}, "pass delimiter="),
    "long delimiter": ("x.tsv", b"a\tb\n", {"delimiter": "::"}, "delimiter: expected one character"),
    "quote as delimiter": ("x.tsv", b"a\tb\n", {"delimiter": '"'}, "delimiter: expected one character"),
    "unknown weights": ("x.tsv", b"a\tb\t1\n", {"weights": "cost"}, "weights: expected 'length'"),
    "not a Parquet file": ("x.parquet", b"PAR1 nothing PAR1", {}, "expected a Parquet file, got a damaged"),
    "empty Parquet file": ("x.parquet", b"", {}, "expected a Parquet file"),
    **{
        f"length {text}": (
            "x.tsv",
            f"a\tb\t1\nb\tc\t{text}\n".encode(),
            {"weights": "length"},
            "line 2: expected a pos",
        )
        for text in ("0", "-1", "nan", "inf", "-inf", "1e999", "-0.0", "1e-999")
    },
    **{
        f"probability {text}": (
            "x.csv",
            f"a,b,.1\nb,c,{text}\n".encode(),
            {"weights": "probability"},
            "line 2: expected",
        )
        for text in ("0", "1", "1.0000001", "-0.5", "nan", "inf", "90%")
    },
}


@pytest.mark.parametrize(("name", "content", "options", "said"), BAD.values(), ids=BAD)
def test_bad_files_are_refused(name: str, content: bytes, options: dict, said: str, tmp_path: Path, unchecked):
    file = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=said) as caught:
        read_edge_list(file, **options)
    assert str(caught.value).startswith((str(file), "weights: ", "delimiter: "))


@pytest.mark.parametrize("keep", [1, 9, 15, 40, -1, -8])
def test_a_gzip_file_that_was_cut_short_is_refused(keep: int, tmp_path: Path):
    generator = np.random.default_rng(0)
    whole = gzip.compress("".join(f"{a}\t{b}\n" for a, b in generator.integers(0, 99, (500, 2))).encode())
    (tmp_path / "x.tsv.gz").write_bytes(whole[:keep])
    with pytest.raises(ValueError, match="expected a whole gzip file"):
        read_edge_list(tmp_path / "x.tsv.gz")


def test_plain_text_under_the_name_of_a_gzip_file_is_refused(tmp_path: Path):
    (tmp_path / "x.tsv.gz").write_bytes(b"a\tb\n")
    with pytest.raises(ValueError, match="expected a whole gzip file"):
        read_edge_list(tmp_path / "x.tsv.gz")


@pytest.mark.parametrize("name", ["x.tsv", "x.csv.gz", "x.parquet"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=f"{name}: expected a"):
        read_edge_list(tmp_path / name)


def test_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "x.tsv").mkdir()
    with pytest.raises(ValueError, match="got a folder"):
        read_edge_list(tmp_path / "x.tsv")


# Parquet

ENDS = {"source": ["a", "b"], "target": ["b", "c"]}
TABLES = {
    "names": (pyarrow.table(ENDS), {}, AB, None),
    "among others": (pyarrow.table({"date": [1, 2], **ENDS, "length": [1.0, 2.0], "x": ["", ""]}), {}, AB, [1, 2]),
    "by place": (
        pyarrow.table({"from": ["a", "b"], "to": ["b", "c"], "km": [1, 2]}),
        {"weights": "length"},
        AB,
        [1, 2],
    ),
    "dictionaries": (pyarrow.table({k: pyarrow.array(v).dictionary_encode() for k, v in ENDS.items()}), {}, AB, None),
    "numbers": (pyarrow.table({"source": [1, 2], "target": [2, 3]}), {}, [("1", "2"), ("2", "3")], None),
    "header means nothing": (pyarrow.table(ENDS), {"header": False}, AB, None),
}


@pytest.mark.parametrize(("table", "options", "expected", "lengths"), TABLES.values(), ids=TABLES)
def test_parquet_is_read(table: pyarrow.Table, options: dict, expected: list, lengths, tmp_path: Path):
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    found = read_edge_list(tmp_path / "x.parquet", **options)
    assert pairs(found) == expected
    assert (None if found.lengths is None else found.lengths.tolist()) == lengths


BAD_TABLES = {
    "floats": ({"source": [0.5], "target": [1.0]}, {}, "expected text or whole numbers in column 'source'"),
    "null name": ({"source": ["a", None], "target": ["b", "c"]}, {}, "row 2: expected a name"),
    "null weight": ({**ENDS, "length": [1.0, None]}, {}, "row 2: expected a number as length"),
    "zero weight": ({**ENDS, "length": [1.0, 0.0]}, {}, "row 2: expected a positive"),
    "a column twice": (pyarrow.table([["a"], ["b"], ["c"]], ["source", "source", "target"]), {}, "'source' twice"),
    "lists": ({"source": [["a"]], "target": ["b"]}, {}, "got list"),
    "one column": ({"a": ["b"]}, {}, "row 1: .* got 1 fields"),
    "no rows": ({"source": pyarrow.array([], "string"), "target": pyarrow.array([], "string")}, {}, "without any"),
}


@pytest.mark.parametrize(("columns", "options", "said"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_parquet_is_refused(columns, options: dict, said: str, tmp_path: Path):
    table = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=said):
        read_edge_list(tmp_path / "x.parquet", **options)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def missing(name: str, *rest, **options):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"hyperspectral-geo\[tables\]"):
        read_edge_list(tmp_path / "x.parquet")


# Lengths


@given(st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=1))
def test_the_shortest_walk_is_the_likeliest(chances: list[float]):
    lengths = link_lengths(np.array(chances), "probability")
    assert (lengths > 0).all()
    product = math.fsum(map(math.log, chances))
    assert math.isclose(-lengths.sum(), product, rel_tol=1e-12)


@pytest.mark.parametrize("certain", [0.0, 1.0, -1.0, math.nan, 2.0])
def test_certain_is_a_probability_below_1(certain: float):
    with pytest.raises(ValueError, match="certain: expected"):
        link_lengths(np.array([1.0]), "probability", certain=certain)


def test_a_million_links_would_take_three_seconds(tmp_path: Path, unchecked):
    ends = np.random.default_rng(0).integers(0, 100_000, (250_000, 2))
    (tmp_path / "x.tsv").write_text("".join(f"Article {a}\tArticle {b}\n" for a, b in ends.tolist()))
    start = time.process_time()
    assert len(read_edge_list(tmp_path / "x.tsv").edges) == 250_000
    assert time.process_time() - start < 2 * 3 / 4  # a quarter of them, on a machine that is half as fast
