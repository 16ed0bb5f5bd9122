"""Links of a wiki from its dumps: the same graph in every schema, redirects, what is refused, and the cache."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mediawiki_cases import AWKWARD, SCHEMAS, SMALL, Wiki, random_wiki, write

from hyperspectral_geo.data.mediawiki import PageLinks, cache, id_table, link_graph, pages, read_links


def named(links: PageLinks) -> set[tuple[str, str]]:
    return {(links.names[a], links.names[b]) for a, b in links.edges.tolist()}


FATES = (
    "from other namespace", "to other namespace", "unknown source", "from redirect", "unknown target", "red link",
    "broken redirect", "self-link", "repeat", "kept",
)  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_small_wiki(schema: str, tmp_path: Path):
    links = read_links(SMALL.save(tmp_path, schema))
    assert links.names == (AWKWARD, "Yeast (fungus)", "Germany")
    assert named(links) == {
        ("Germany", "Yeast (fungus)"), ("Yeast (fungus)", "Germany"), (AWKWARD, "Germany"), ("Yeast (fungus)", AWKWARD),
    }  # fmt: skip
    assert named(links) == SMALL.expected()
    assert (links.dump_date, links.namespace) == (date(2024, 9, 1), 0)
    counts = dict(links.counts)
    assert sum(counts[fate] for fate in FATES) == counts["links"] == len(SMALL.links)
    told = {
        "pages": 3, "redirects": 9, "broken redirects": 7, "to other namespace": 1, "from redirect": 1, "red link": 1,
        "broken redirect": 6, "self-link": 2, "repeat": 2, "kept": 4, "through redirect": 3, "unknown target": 0,
    }  # fmt: skip
    assert {name: counts[name] for name in told} == told
    both = counts["from other namespace"], counts["unknown source"]
    assert both == ((2, 0) if schema == "before 2014" else (1, 1))  # without its namespace a source just is not there
    for table, digest in links.sha256.items():
        assert digest == hashlib.sha256((tmp_path / f"xwiki-20240901-{table}.sql.gz").read_bytes()).hexdigest()
    assert len(links.sha256) == (4 if schema == "since 2024" else 3)


@pytest.mark.parametrize("namespace", [0, 14])
@pytest.mark.parametrize("seed", range(3))
def test_every_schema_gives_the_links_of_a_plain_join(seed: int, namespace: int, tmp_path: Path):
    wiki = random_wiki(seed)
    found = [read_links(wiki.save(tmp_path / s, s), namespace=namespace, most_lost=1.0) for s in SCHEMAS]
    for links in found:
        assert named(links) == wiki.expected(namespace)
        assert links.names == found[0].names
        assert links.edges.tolist() == sorted(found[0].edges.tolist())
        assert sum(links.counts[fate] for fate in FATES) == len(wiki.links)
    chances = Counter(fate for fate in FATES if found[0].counts[fate])
    assert len(chances) >= (8 if namespace == 0 else 6)  # else the wiki tries too little


@given(st.lists(st.tuples(st.booleans(), st.integers(-1, 9)), min_size=1, max_size=10))
def test_redirects_end_where_networkx_says(entries: list[tuple[bool, int]]):
    redirect = np.array([entry[0] for entry in entries])
    aims = np.array([min(entry[1], len(entries) - 1) for entry in entries], dtype=np.int32)
    chains = nx.DiGraph([(i, int(aim)) for i, aim in enumerate(aims) if redirect[i] and aim >= 0])
    chains.add_nodes_from(range(len(entries)))
    ends = pages.follow_redirects(aims, redirect)
    for page, end in enumerate(ends.tolist()):
        reached = [other for other in {page, *nx.descendants(chains, page)} if not redirect[other]]
        assert reached == ([] if end == pages.NOWHERE else [end])


@given(
    st.dictionaries(st.integers(-(2**62), 2**62) | st.integers(0, 50), st.integers(0, 2**31 - 1)),
    st.lists(st.integers(-5, 60)),
)
def test_ids_are_found_dense_or_not(table: dict[int, int], others: list[int]):
    made = id_table.IdTable(np.array([*table], np.int64), np.array([*table.values()], np.int64), missing=-9, source="t")
    wanted = [*table, *others, 2**62 + 1]
    assert made[np.array(wanted, np.int64)].tolist() == [table.get(key, -9) for key in wanted]


# What is refused


PAGE, REDIRECT = "xwiki-20240901-page.sql.gz", "xwiki-20240901-redirect.sql.gz"
OTHER = replace(SMALL, pages={page + 10**6: entry for page, entry in SMALL.pages.items()}, redirects={})
RED = replace(SMALL, links=SMALL.links + [(10, 0, f"Red {i}") for i in range(100)])
TWICE = replace(SMALL, pages={**SMALL.pages, 30: (0, "Germany", False)})
BAD = {  # the wiki, a file and what to do with it (remove, replace by another, make), options, the error
    "no pages": (SMALL, (PAGE, None), {}, "dump of the table page"),
    "no redirects": (SMALL, (REDIRECT, None), {}, "dump of the table redirect"),
    "no link targets": (SMALL, (PAGE.replace("page", "linktarget"), None), {}, "dump of the table linktarget"),
    "two of a table": (SMALL, ("page.sql", PAGE), {}, "one dump of the table page, got page.sql and xwiki-20240901"),
    "the table of another": (SMALL, (PAGE, REDIRECT), {}, "CREATE TABLE `page`, got a dump of redirect"),
    "pages of another wiki": (OTHER, None, {}, "at most 90% of the links within namespace 0 to be lost, got 18 of 18"),
    "red links": (RED, None, {}, "got 108 of 117"),
    "stricter": (SMALL, None, {"most_lost": 0.3}, "at most 30% of .* got 8 of 17"),
    "no such namespace": (SMALL, None, {"namespace": 3}, "pages in namespace 3, got none"),
    "nothing in the namespace": (SMALL, None, {"namespace": 14, "most_lost": 1.0}, "links within namespace 14"),
    "a title twice": (TWICE, None, {}, "every title once in namespace 0, got 13 pages of 12"),
    "not a share": (SMALL, None, {"most_lost": 1.5}, "most_lost: expected a share"),
}


@pytest.mark.parametrize(("wiki", "spoilt", "options", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit_together_is_refused(wiki: Wiki, spoilt, options: dict, said: str, tmp_path: Path):
    folder = wiki.save(tmp_path)
    if spoilt is not None:
        name, other = spoilt
        content = (folder / other).read_bytes() if other else b""
        (folder / name).write_bytes(content)
        if not other:
            (folder / name).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        read_links(folder, **options)


def test_dumps_of_two_days_are_refused(tmp_path: Path):
    SMALL.save(tmp_path)
    (tmp_path / PAGE).rename(tmp_path / "xwiki-20240801-page.sql.gz")
    with pytest.raises(ValueError, match="one day, got xwiki-20240801-page.sql.gz of 2024-08-01, xwiki-20240901"):
        read_links(tmp_path)


def test_the_last_comment_tells_the_day_where_the_name_does_not(tmp_path: Path):
    assert read_links(SMALL.save(tmp_path, prefix="xwiki-latest-")).dump_date == date(2024, 9, 2)


def test_files_may_be_named(tmp_path: Path):
    SMALL.save(tmp_path, "before 2024", prefix="")
    files = {table: tmp_path / f"{table}.sql.gz" for table in ("page", "redirect", "pagelinks")}
    assert named(read_links(files)) == SMALL.expected()
    with pytest.raises(ValueError, match="got one of pages"):
        read_links({**files, "pages": files["page"]})
    with pytest.raises(FileNotFoundError, match="expected a folder of dumps"):
        read_links(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("table", "row", "said"),
    [
        ("page", "(10,0,'Again',0,0.5)", "page_id: expected every id once, got 13 rows for 12 ids"),
        ("page", "(31,0,'\xff',0,0.5)", r"expected titles in UTF-8, got b'\\xff'"),
        ("page", "(31,0,NULL,0,0.5)", "every title once"),
        ("page", "(31,0,'Yeast (fungus)',0,0.5)", "titles that differ by more than spaces"),
        ("redirect", "(20,0,'Yeast_(fungus)','')", "one target for each redirect, got 2 for 'FRG'"),
        ("linktarget", "('Germany',0,1099511627776)", "lt_id: expected every id once"),
        ("pagelinks", "(10,0,NULL)", "an integer of 64 bits in the column pl_target_id"),
        ("pagelinks", "(10,0)", "',' and a value for the column pl_target_id"),
    ],
)
def test_wrong_rows_are_refused(table: str, row: str, said: str, tmp_path: Path):
    path = SMALL.save(tmp_path) / PAGE.replace("page", table)
    dump = gzip.decompress(path.read_bytes())
    write(path, dump.replace(b" VALUES ", b" VALUES " + row.encode("latin-1") + b","))
    with pytest.raises(ValueError, match=said) as caught:
        read_links(tmp_path)
    assert path.name in str(caught.value)


def test_targets_that_are_not_there_are_counted(tmp_path: Path):
    path = SMALL.save(tmp_path) / PAGE.replace("page", "linktarget")
    write(path, gzip.decompress(path.read_bytes()).replace(b",%d)" % 2**40, b",5)"))
    links = read_links(tmp_path)
    assert links.counts["unknown target"] == 1
    assert named(links) == SMALL.expected() - {("Germany", "Yeast (fungus)")}


# The cache


def same(a: PageLinks, b: PageLinks) -> bool:
    fields = ("names", "namespace", "dump_date", "counts", "sha256")
    return all(getattr(a, name) == getattr(b, name) for name in fields) and a.edges.equal(b.edges)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of dumps, and the cache that was made from it."""
    pytest.importorskip("pyarrow")
    folder = random_wiki(0).save(tmp_path / "dumps")
    read_links(folder, cache=tmp_path / "links.parquet", most_lost=1.0)
    return folder, tmp_path / "links.parquet"


def test_a_cache_gives_the_same_without_reading(stored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    folder, path = stored
    read = read_links(folder, most_lost=1.0)
    monkeypatch.setattr(link_graph, "TableDump", None)
    monkeypatch.setattr(cache, "_GROUP", 10)
    assert same(read_links(folder, cache=path), read)
    cache.save_links(path, read)  # in many row groups
    assert same(read_links(folder, cache=path), read)
    assert not read_links(folder, cache=path).edges.is_set_to(read.edges)


def test_a_cache_is_for_other_readers_too(stored: tuple[Path, Path]):
    table = pytest.importorskip("pyarrow.parquet").read_table(stored[1]).to_pydict()
    pairs = {(name, table["name"][i]) for name, row in zip(table["name"], table["links"], strict=True) for i in row}
    assert pairs == random_wiki(0).expected()


def test_a_cache_of_other_dumps_is_made_anew(stored: tuple[Path, Path]):
    folder, path = stored
    for table in ("page", "pagelinks"):
        dump = folder / f"xwiki-20240901-{table}.sql.gz"
        before = dump.stat()
        changed = bytearray(dump.read_bytes())
        changed[4] ^= 1  # in gzip's time stamp: size and content stay, and so does the file's time
        dump.write_bytes(changed)
        os.utime(dump, ns=(before.st_atime_ns, before.st_mtime_ns))
        found = read_links(folder, cache=path, most_lost=1.0)
        assert found.sha256[table] == hashlib.sha256(changed).hexdigest()
    assert read_links(folder, namespace=14, cache=path, most_lost=1.0).namespace == 14
    assert read_links(folder, cache=path, most_lost=1.0).namespace == 0


def test_damaged_caches_are_refused_and_stay(stored: tuple[Path, Path]):
    folder, path = stored
    whole, right = path.read_bytes(), read_links(folder, most_lost=1.0)
    rng = np.random.default_rng(0)
    spoilt = [whole[: len(whole) // 2], b"", b"PAR1", b"other" * 9]
    for at in rng.integers(len(whole), size=60).tolist():
        spoilt.append(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
    refused = 0
    for content in spoilt:
        path.write_bytes(content)
        try:
            found = read_links(folder, cache=path, most_lost=1.0)
        except ValueError as error:
            said = str(error)
        else:
            assert same(found, right)
            continue
        assert said.startswith(f"{path}: expected a cache of links")
        assert path.read_bytes() == content
        refused += 1
    assert refused > 40


def test_another_parquet_file_is_not_overwritten(stored: tuple[Path, Path]):
    folder, path = stored
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"mine": [1]}), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="got another or a damaged file"):
        read_links(folder, cache=path)
    assert path.read_bytes() == before


def test_what_a_cache_needs_is_said_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = SMALL.save(tmp_path / "dumps")
    monkeypatch.setattr(link_graph, "TableDump", None)
    monkeypatch.setattr(cache, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"hyperspectral-geo\[tables\]"):
        read_links(folder, cache=tmp_path / "links.parquet")
    monkeypatch.setattr(cache, "find_spec", lambda name: name)
    with pytest.raises(FileNotFoundError, match="expected a folder to write to"):
        read_links(folder, cache=tmp_path / "nowhere" / "links.parquet")
