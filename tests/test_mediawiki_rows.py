"""Rows of SQL dumps: hard ones read right, wrong ones refused with their byte, gzip that is not whole."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from mediawiki_cases import BAD, COMPLETED, DUMPS, HEAD, INTO, VALUES, write

from hyperspectral_geo.benchmarks import hop_dumps
from hyperspectral_geo.data.mediawiki import Column, byte_window, iterate_rows, read_schema, sql_rows

ALL = {
    **{name: (HEAD + INTO + text, titles) for name, (text, titles) in VALUES.items()},
    **{name: (HEAD + text, [b"A", b"B"]) for name, text in DUMPS.items()},
}


@pytest.fixture(params=["arrays", "expressions", "as it comes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether rows are read by operations on arrays where possible, by regular expressions, or as their number asks."""
    few = {"arrays": 0, "expressions": 10**9}.get(request.param)
    if few is not None:
        monkeypatch.setattr(sql_rows, "_FEW", few)
    return request.param


def titles_of(path: Path) -> list[tuple[int, bytes | None]]:
    found = []
    for block in iterate_rows(path, "t", ["title", "id"]):
        assert list(block) == ["title", "id"]
        assert block["id"].dtype == np.int64
        found += zip(block["id"].tolist(), block["title"].tolist(), strict=True)
    return found


@pytest.mark.parametrize("chunk", [5, 4096])
@pytest.mark.parametrize(("dump", "titles"), ALL.values(), ids=ALL)
def test_hard_rows(dump: bytes, titles: list, chunk: int, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(byte_window, "CHUNK", chunk)
    expected = list(enumerate(titles, start=1))
    for name in ("t.sql", "t.sql.gz"):
        assert titles_of(write(tmp_path / name, dump)) == expected


def test_there_are_enough_hard_cases():
    assert len(ALL) >= 40


@pytest.mark.parametrize("chunk", [5, 4096])
@pytest.mark.parametrize(("marked", "said"), BAD.values(), ids=BAD)
def test_wrong_dumps_are_refused_at_their_byte(
    marked: bytes, said: str, chunk: int, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(byte_window, "CHUNK", chunk)
    before, _, after = (marked if b"CREATE" in marked else HEAD + marked).partition(b"^")
    for name in ("t.sql", "t.sql.gz"):
        path = write(tmp_path / name, before + after)
        with pytest.raises(ValueError) as caught:
            titles_of(path)
        assert str(caught.value).startswith(f"{path}, byte {len(before)} of the uncompressed content: expected ")
        assert said in str(caught.value)


def test_64_bits_and_no_more(tmp_path: Path, way: str):
    rows = b"(9223372036854775807,0,'A'),(-9223372036854775808,0,'B'),(-1,0,'C');"
    path = write(tmp_path / "t.sql", HEAD + INTO + rows)
    assert titles_of(path) == [(2**63 - 1, b"A"), (-(2**63), b"B"), (-1, b"C")]


def test_real_numbers_are_read_where_they_are_wanted(tmp_path: Path, way: str):
    create = b"CREATE TABLE `t` (`a` double unsigned, `b` int, `c` DECIMAL(10,2));"
    path = write(tmp_path / "t.sql", create + INTO + b"(0.25,1,-3.50),(1e-05,2,7);")
    (block,) = iterate_rows(path, "t", ["c", "a"])
    assert {name: column.tolist() for name, column in block.items()} == {"c": [-3.5, 7.0], "a": [0.25, 1e-05]}
    (block,) = iterate_rows(path, "t", ["b"])
    assert block["b"].tolist() == [1, 2]


@pytest.mark.parametrize("chunk", [1 << 20, 1 << 14])
def test_many_integers(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(byte_window, "CHUNK", chunk)
    if chunk == 1 << 20:  # all in sight at once: nothing but operations on arrays
        monkeypatch.setattr(sql_rows, "regex_rows", None)
    rng = np.random.default_rng(0)
    values = rng.integers(-(2**62), 2**62, (5000, 3))
    rows = b",".join(b"(%d,%d,%d)" % tuple(row) for row in values.tolist())
    dump = b"CREATE TABLE t (a bigint, b bigint, c bigint);" + INTO + rows + b";\n"
    blocks = list(iterate_rows(write(tmp_path / "t.sql.gz", dump), "t", ["c", "a"]))
    found = np.concatenate([np.stack([block["a"], block["c"]], 1) for block in blocks])
    assert np.array_equal(found, values[:, [0, 2]])


def test_columns_are_found_by_name_in_any_order(tmp_path: Path):
    create = (
        b"create table if not exists t (\n `title` varbinary(255) NOT NULL DEFAULT ',',\n UNIQUE KEY `id` (`id`,`x`),"
    )
    path = write(tmp_path / "t.sql", create + b"x mediumtext, id bigint(20) unsigned,\nr float) ENGINE=InnoDB;\n")
    kinds = {"title": "bytes", "x": "bytes", "id": "integer", "r": "real"}
    assert read_schema(path, "t") == tuple(Column(name, kind) for name, kind in kinds.items())
    with path.open("ab") as file:
        file.write(b"INSERT INTO t VALUES ('A',NULL,1,0.5),('B','(',2,0);")
    assert titles_of(path) == [(1, b"A"), (2, b"B")]


@pytest.mark.parametrize("columns", [[], ["id", "id"]])
def test_columns_asked_for_must_differ(columns: list[str], tmp_path: Path):
    with pytest.raises(ValueError, match="^columns: expected different names"):
        list(iterate_rows(write(tmp_path / "t.sql", HEAD), "t", columns))


@pytest.mark.parametrize("name", hop_dumps.TABLES)
def test_the_benchmark_counts_wrong_rows(name: str, tmp_path: Path):
    table, path = hop_dumps.TABLES[name], tmp_path / "t.sql.gz"
    table.write(path, 60_000)
    blocks = list(iterate_rows(path, table.table, table.columns))
    assert table.wrong(60_000, blocks) == 0
    blocks[0][table.columns[-1]][:3] = b"wrong" if table.title else -1
    assert table.wrong(60_000, blocks) == 3
    assert table.wrong(25_000, blocks) == 35_003  # surplus ones count as well


def test_the_benchmark_has_two_rows_a_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hop_dumps, "ROWS", 10_000)
    rows = hop_dumps.rows(quick=True)
    assert len(rows) == 2 * len(hop_dumps.TABLES)
    assert [row.value for row in rows[1::2]] == [0, 0, 0]
    assert all(row.value > 0 and row.bar is None for row in rows[::2])


# Files


def test_day_and_hash_are_known_at_the_end(tmp_path: Path):
    path = write(tmp_path / "t.sql.gz", HEAD + INTO + b"(1,0,'A');\n" + COMPLETED)
    dump = sql_rows.TableDump(path, "t")
    assert len(list(dump.blocks(["id"]))) == 1
    assert (dump.completed, dump.sha256) == (date(2024, 9, 2), hashlib.sha256(path.read_bytes()).hexdigest())


def test_gzip_of_several_members_and_padding(tmp_path: Path):
    dump = HEAD + INTO + b"(1,0,'A'),(2,0,'B');"
    parts = [gzip.compress(dump[i : i + 40]) for i in range(0, len(dump), 40)]
    path = tmp_path / "t.sql.gz"
    path.write_bytes(b"".join(parts) + bytes(512))
    assert titles_of(path) == [(1, b"A"), (2, b"B")]


def test_a_bomb_needs_no_memory(tmp_path: Path):
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(HEAD + INTO + b"(1,0,'")
    packed += b"".join(packer.compress(b"A" * (1 << 20)) for _ in range(40)) + packer.flush()
    path = tmp_path / "t.sql.gz"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="end of the string that begins here"):
        titles_of(path)


WHOLE = gzip.compress(HEAD + INTO + b",".join(b"(%d,0,'%d')" % (i, i * i) for i in range(5000)) + b";\n")
BAD_FILES = {
    "empty": (b"", "got an empty file"),
    "only the magic number": (WHOLE[:2], "cut short"),
    "cut in the header": (WHOLE[:7], "cut short"),
    "cut in the data": (WHOLE[: len(WHOLE) // 2], "cut short"),
    "cut in the check sum": (WHOLE[:-6], "cut short"),
    "cut in the length": (WHOLE[:-1], "cut short"),
    "another check sum": (WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "incorrect data check"),
    "another length": (WHOLE[:-1] + b"\7", "incorrect length check"),
    "damaged data": (WHOLE[:5000] + bytes(200) + WHOLE[5200:], "byte"),
    "more behind": (WHOLE + b"more", "incorrect header check"),
    "a second member cut": (WHOLE + WHOLE[:100], "cut short"),
}


@pytest.mark.parametrize(("stored", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_are_not_whole_are_refused(stored: bytes, said: str, tmp_path: Path):
    path = tmp_path / "t.sql.gz"
    path.write_bytes(stored)
    with pytest.raises(ValueError, match=said) as caught:
        titles_of(path)
    assert str(caught.value).startswith(f"{path}, byte ")


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        titles_of(tmp_path / "nowhere.sql.gz")
