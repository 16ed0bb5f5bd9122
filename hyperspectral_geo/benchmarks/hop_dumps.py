"""The reader of MediaWiki dumps: rows a second and wrong rows, on generated dumps in both schemas."""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hyperspectral_geo.benchmarks.table import Row
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data.mediawiki.byte_window import uncompressed
from hyperspectral_geo.data.mediawiki.sql_rows import iterate_rows

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["GeneratedTable", "TABLES", "rows"]

ROWS = 10_000_000
_STATEMENT = 25_000  # rows of one INSERT, which mysqldump ends at a megabyte
_HARD = (b"O'Neill", b"a),(b", b"Who;_Where", b"C:\\", b'The_"Thing"', "Žižek_(2005)".encode(), b"',0),(1,0,'", b"NULL")
_TITLES = [b"Title_of_article_%d" % i if i % 32 else _HARD[i // 32 % len(_HARD)] + b"_%d" % i for i in range(1 << 16)]
_ESCAPED = [t.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b'"', b'\\"') for t in _TITLES]


@dataclass(frozen=True)
class GeneratedTable:
    """A table whose rows are random: ids, and titles of which every thirty-second holds quotes or punctuation.

    Attributes:
        create: the list of columns.
        row: the text of a row with a source, a target, and an escaped title.
        ids, title: the names of the columns that hold them.
    """

    table: str
    create: bytes
    row: Callable[[int, int, bytes], bytes]
    ids: tuple[str, ...]
    title: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read and compared."""
        return self.ids if self.title is None else (*self.ids, self.title)

    def values(self, count: int) -> Iterator[tuple[np.ndarray, ...]]:
        """The rows' sources, targets and numbers of titles, a statement at a time; the same every time."""
        generator = np.random.default_rng(0)
        for begin in range(0, count, _STATEMENT):
            size = min(_STATEMENT, count - begin)
            yield tuple(generator.integers(1, high, size) for high in (80_000_000, 250_000_000, len(_TITLES)))

    def write(self, path: Path, count: int) -> None:
        """Write a gzipped dump of ``count`` rows."""
        with gzip.open(path, "wb", compresslevel=6) as file:
            file.write(
                b"-- MySQL dump 10.19  Distrib\n\nCREATE TABLE `%b` (%b);\n" % (self.table.encode(), self.create)
            )
            for source, target, title in self.values(count):
                texts = [_ESCAPED[number] for number in title.tolist()]
                each = map(self.row, source.tolist(), target.tolist(), texts)
                file.write(b"INSERT INTO `%b` VALUES " % self.table.encode() + b",".join(each) + b";\n")
            file.write(b"-- Dump completed on 2024-09-01 12:00:00\n")

    def wrong(self, count: int, blocks: Sequence[dict[str, np.ndarray]]) -> int:
        """How many of ``count`` rows are not as they were written, missing and surplus ones included."""
        found = [np.concatenate([block[name] for block in blocks]) for name in self.columns]
        at = wrong = 0
        for source, target, title in self.values(count):
            expected = [source, target][: len(self.ids)]
            if self.title is not None:
                expected.append(np.fromiter(map(_TITLES.__getitem__, title.tolist()), object, len(title)))
            parts = [column[at : at + len(source)] for column in found]
            size = len(parts[0])
            right = np.ones(size, dtype=bool)
            for part, values in zip(parts, expected, strict=True):
                right &= np.equal(part, values[:size]).astype(bool)
            wrong += len(source) - int(right.sum())
            at += len(source)
        return wrong + max(len(found[0]) - count, 0)


TABLES = {
    "pagelinks, schema since 2024": GeneratedTable(
        "pagelinks",
        b"`pl_from` int(8) unsigned, `pl_from_namespace` int(11), `pl_target_id` bigint(20) unsigned",
        lambda source, target, title: b"(%d,0,%d)" % (source, target),
        ("pl_from", "pl_target_id"),
    ),
    "pagelinks, schema before 2024": GeneratedTable(
        "pagelinks",
        b"`pl_from` int(8) unsigned, `pl_namespace` int(11), `pl_title` varbinary(255), `pl_from_namespace` int(11)",
        lambda source, target, title: b"(%d,0,'%b',0)" % (source, title),
        ("pl_from",),
        "pl_title",
    ),
    "page, with real numbers and NULL": GeneratedTable(
        "page",
        b"`page_id` int(8), `page_namespace` int, `page_is_redirect` int(1), `page_random` double, "
        b"`page_touched` binary(14), `page_latest` int, `page_title` varbinary(255), `page_lang` varbinary(35)",
        lambda source, target, title: (
            b"(%d,0,0,0.33167112649574004,'20240901000000',%d,'%b',NULL)" % (source, target, title)
        ),
        ("page_id", "page_latest"),
        "page_title",
    ),
}


def rows(*, quick: bool, progress: Progress | None = None) -> list[Row]:
    """Millions of rows a CPU second, gunzip included, and wrong rows; with ``quick`` on a fiftieth of the rows.

    The bars are for pagelinks, the table that has nearly all rows of a wiki.
    """
    task = progress.add_task("dumps", total=len(TABLES)) if progress else None
    found = []
    with one_thread():
        for name, table in TABLES.items():
            if progress and task is not None:
                progress.update(task, description=name)
            count = (ROWS if table.table == "pagelinks" else ROWS // 10) // (50 if quick else 1)
            found += _measured(name, table, count, bar=None if quick or table.table != "pagelinks" else 1.0)
            if progress and task is not None:
                progress.advance(task)
    return found


def _measured(name: str, table: GeneratedTable, count: int, *, bar: float | None) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / f"{table.table}.sql.gz"
        table.write(dump, count)
        start = time.process_time()
        for _ in uncompressed(dump):
            pass
        unzipped = time.process_time() - start
        start = time.process_time()
        blocks = list(iterate_rows(dump, table.table, table.columns))
        seconds = time.process_time() - start
        wrong = table.wrong(count, blocks)
    speed = count / seconds / 1e6
    texts = (f"{seconds:.2f} CPU-s, of which gunzip {unzipped:.2f}", f"{count:,} rows")
    return [
        Row(f"{name}: rows read", speed, bar, "higher", None, *texts, " M/s"),
        Row(f"{name}: wrong rows", float(wrong), 0.0, "lower", None, f"{count:,} rows"),
    ]
