"""The columns of a table, as its CREATE TABLE statement names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hyperspectral_geo.data.mediawiki.fault import Fault, seen

__all__ = ["Column", "columns_of", "named_columns"]

Kind = Literal["integer", "real", "bytes"]

_INTEGERS = {b"tinyint", b"smallint", b"mediumint", b"int", b"integer", b"bigint", b"bool", b"boolean", b"year"}
_REALS = {b"float", b"double", b"real", b"decimal", b"dec", b"numeric", b"fixed"}
_NO_COLUMN = {
    *(b"primary", b"unique", b"key", b"index", b"fulltext", b"spatial", b"constraint", b"foreign", b"check", b"period"),
}
# One entry of the list: commas within parentheses and quotes, as in enum('a,b') and decimal(10,2), do not end it.
_QUOTED = rb"'(?:[^'\\]|\\.|'')*+'|\"(?:[^\"\\]|\\.|\"\")*+\"|`[^`]*+`"
_ENTRY = re.compile(rb"(?:[^(),'\"`]|" + _QUOTED + rb"|\((?:[^()'\"`]|" + _QUOTED + rb"|\([^()]*+\))*+\))++", re.DOTALL)
_COLUMN = re.compile(rb"\s*+(?:`([^`]++)`|([A-Za-z_]\w*+))\s*+([A-Za-z]\w*+)?", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A column: its name, and whether its values are integers, real numbers, or bytes in quotes."""

    name: str
    kind: Kind


def columns_of(body: bytes) -> tuple[Column, ...]:
    """The columns between the parentheses of a CREATE TABLE statement, in the order in which rows hold them.

    Raises:
        Fault: if the text is not a list of columns and keys, or names a column twice.

    >>> columns_of(b"`pl_from` int(8) unsigned NOT NULL DEFAULT 0, `pl_title` varbinary(255), PRIMARY KEY (`pl_from`)")
    (Column(name='pl_from', kind='integer'), Column(name='pl_title', kind='bytes'))
    """
    found, at = [], 0
    while True:
        entry = _ENTRY.match(body, at)
        column = _COLUMN.match(entry[0]) if entry else None
        if entry is None or column is None:
            raise Fault("a column or a key", seen(body, at), at=at)
        quoted, bare, kind = column.groups()
        if quoted or bare.lower() not in _NO_COLUMN:
            if not kind:
                raise Fault("a type after the column's name", seen(body, at), at=at)
            found.append(Column((quoted or bare).decode("utf-8", "replace"), _kind(kind.lower())))
        at = entry.end()
        if at == len(body):
            break
        if body[at : at + 1] != b",":
            raise Fault("a comma between columns", seen(body, at), at=at)
        at += 1
    names = [column.name for column in found]
    if not names or len(set(names)) != len(names):
        raise Fault("columns with different names", ", ".join(names) or "none")
    return tuple(found)


def named_columns(text: bytes) -> list[str]:
    """The names in a list of columns as it may follow the table's name: ``(`a`, `b`)``."""
    return [name.strip(b" \t\r\n`").decode("utf-8", "replace") for name in text.strip(b" \t\r\n()").split(b",")]


def _kind(word: bytes) -> Kind:
    return "integer" if word in _INTEGERS else "real" if word in _REALS else "bytes"
