"""The rows of one table of a dump, streamed as columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np

from hyperspectral_geo.data.mediawiki.byte_window import ByteWindow
from hyperspectral_geo.data.mediawiki.fault import Fault
from hyperspectral_geo.data.mediawiki.regex_rows import find_fault, regex_rows
from hyperspectral_geo.data.mediawiki.row_layout import RowLayout
from hyperspectral_geo.data.mediawiki.schema import Column, columns_of, named_columns
from hyperspectral_geo.data.mediawiki.statements import Comment, CreateTable, InsertInto, skip_statement, statements
from hyperspectral_geo.data.mediawiki.vector_rows import vector_rows

__all__ = ["TableDump", "iterate_rows", "read_schema"]

_STATEMENT_END = re.compile(rb";\r?\n")
_FEW = 2048  # bytes below which the arrays' overhead is more than they save
_HEADER = re.compile(r"(MySQL|MariaDB) dump 10\.")
_COMPLETED = re.compile(r"Dump completed(?: on\s+(\d{4})-(\d\d)-(\d\d))?")


def iterate_rows(path: Path, table: str, columns: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    r"""Rows of ``table`` from an SQL dump, plain or gzipped, in blocks of about a megabyte of text.

    Columns are found by their names in CREATE TABLE, or in the INSERT statement's own list. Every byte of the dump is
    accounted for: what is neither a row nor another part of a dump is an error, never skipped.

    Args:
        path: the dump; statements for other tables in it are passed over.
        table: the table's name.
        columns: the names of the wanted columns.

    Yields:
        For each wanted column an array with one entry a row: int64 for integers, float64 for real numbers, otherwise
        objects: ``bytes``, not decoded, and ``None`` for NULL. About 8 bytes a number and 41 and its length a string.

    Raises:
        ValueError: for a damaged or truncated file, a malformed row, NULL or more than 64 bits among wanted integers,
            or a table or column that is missing, with the byte in the uncompressed content. Blocks that came before
            must then be thrown away: whether a gzipped file is whole is only known at its end.
        OSError: if the file cannot be read.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> dump = Path(folder.name) / "page.sql"
    >>> _ = dump.write_bytes(
    ...     b"CREATE TABLE `page` (`page_id` int, `page_title` varbinary(255));\n"
    ...     rb"INSERT INTO `page` VALUES (7,'O\'Neill'),(8,'a),(b');"
    ... )
    >>> for block in iterate_rows(dump, "page", ["page_title", "page_id"]):
    ...     print(block["page_id"], block["page_title"].tolist())
    [7 8] [b"O'Neill", b'a),(b']
    """
    yield from TableDump(path, table).blocks(columns)


def read_schema(path: Path, table: str) -> tuple[Column, ...]:
    """The columns of ``table`` by its CREATE TABLE statement; reads the dump up to there.

    Raises:
        ValueError: if there is no such statement, or the file is damaged.
    """
    return next(TableDump(path, table)._schemas())


class TableDump:
    """One table in one dump, to be read once.

    Attributes:
        sha256: of the file as it lies on the disk; known after the last block.
        completed: the day in the dump's last comment, if there is one; known after the last block.
    """

    def __init__(self, path: Path, table: str) -> None:
        self.path = path
        self.table = table
        self.sha256 = ""
        self.completed: date | None = None
        self._digest = hashlib.sha256()
        self._window = ByteWindow(path, self._digest.update)

    def blocks(self, columns: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """The rows, as ``iterate_rows`` gives them."""
        wanted = tuple(columns)
        if not wanted or len({*wanted}) != len(wanted):
            raise ValueError(f"columns: expected different names, one at least, got {list(columns)}")
        schemas: dict[str, tuple[Column, ...]] = {}
        for statement in self._walk(schemas):
            if isinstance(statement, CreateTable):
                if statement.table == self.table:
                    self._layout(schemas[self.table], wanted, None)  # a missing column is known before any row
            elif statement.table not in schemas:
                raise self._window.error(f"CREATE TABLE before rows of {statement.table!r}", "none")
            elif statement.table == self.table:
                names = None if statement.columns is None else named_columns(statement.columns)
                yield from self._rows(self._layout(schemas[self.table], wanted, names))
            else:
                skip_statement(self._window)
        self._require(schemas)
        self.sha256 = self._digest.hexdigest()

    def _schemas(self) -> Iterator[tuple[Column, ...]]:
        """The table's columns as soon as they are known."""
        schemas: dict[str, tuple[Column, ...]] = {}
        for statement in self._walk(schemas):
            if isinstance(statement, InsertInto):
                skip_statement(self._window)
            elif statement.table == self.table:
                yield schemas[self.table]
        self._require(schemas)

    def _require(self, schemas: Mapping[str, object]) -> None:
        if self.table not in schemas:
            tables = ", ".join(schemas) or "no table"
            raise self._window.error(f"CREATE TABLE `{self.table}`", f"a dump of {tables}")

    def _walk(self, schemas: dict[str, tuple[Column, ...]]) -> Iterator[CreateTable | InsertInto]:
        """The statements on tables; ``schemas`` grows on the way. At the end the dump must say that it is complete."""
        begun = completed = False
        for statement in statements(self._window):
            if isinstance(statement, Comment):
                begun = begun or _HEADER.match(statement.text) is not None
                found = _COMPLETED.match(statement.text)
                completed = completed or found is not None
                self.completed = _date(found) or self.completed
                continue
            if isinstance(statement, CreateTable):
                self._add(statement, schemas)
            yield statement
        if begun and not completed:
            raise self._window.error("'-- Dump completed', since the first comment names mysqldump")

    def _add(self, statement: CreateTable, schemas: dict[str, tuple[Column, ...]]) -> None:
        if statement.table in schemas:
            raise self._window.error(f"one CREATE TABLE `{statement.table}`", "a second one")
        try:
            schemas[statement.table] = columns_of(statement.body)
        except Fault as fault:
            raise self._window.error(f"in CREATE TABLE `{statement.table}` {fault.expected}", fault.got) from None

    def _layout(self, columns: tuple[Column, ...], wanted: tuple[str, ...], names: list[str] | None) -> RowLayout:
        try:
            return RowLayout.listed(columns, wanted, names)
        except Fault as fault:
            raise self._window.error(f"in `{self.table}` {fault.expected}", fault.got) from None

    def _rows(self, layout: RowLayout) -> Iterator[dict[str, np.ndarray]]:
        """Blocks up to the semicolon, of as many rows at a time as the window shows whole."""
        window, ended = self._window, False
        while not ended:
            window.skip_space()
            try:
                values, used, ended = self._whole_rows(layout)
            except Fault as fault:
                raise window.located(fault) from None
            window.at += used
            if used:
                yield dict(zip(layout.wanted, values, strict=True))
            elif not window.grow():
                raise window.located(find_fault(window.data[window.at :], layout))

    def _whole_rows(self, layout: RowLayout) -> tuple[list[np.ndarray], int, bool]:
        data, at = self._window.data, self._window.at
        end = _STATEMENT_END.search(data, at)
        text = data[at : end.end() if end else None]
        found = vector_rows(text, layout) if len(text) > _FEW else None
        found = found or regex_rows(text, layout)
        # A line may also end within a string, and then what follows belongs to the same row.
        return found if found[1] or end is None else regex_rows(data[at:], layout)


def _date(completed: re.Match[str] | None) -> date | None:
    if completed is None or completed[1] is None:
        return None
    try:
        return date(int(completed[1]), int(completed[2]), int(completed[3]))
    except ValueError:
        return None
