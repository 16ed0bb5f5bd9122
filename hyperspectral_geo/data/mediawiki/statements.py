"""The statements of a dump, up to the rows that some of them hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hyperspectral_geo.data.mediawiki.byte_window import ByteWindow
from hyperspectral_geo.data.mediawiki.fault import seen

__all__ = ["Comment", "CreateTable", "InsertInto", "skip_statement", "statements"]

_AHEAD = 1 << 16  # bytes in sight where a statement begins: more than any head has

_STRING = rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'|\"[^\"\\]*+(?:(?:\\.|\"\")[^\"\\]*+)*+\"|`[^`]*+`"
_BLOCK = rb"/\*[^*]*+(?:\*(?!/)[^*]*+)*+\*/"
_LINE = rb"(?:--(?=\s|\Z)|\#)"
_NAME = rb"`[^`]++`|[A-Za-z_]\w*+"
_HEAD = re.compile(
    rb"(?P<space>\s++)|(?P<line>" + _LINE + rb")|(?P<block>/\*)|(?P<empty>;)"
    rb"|(?P<insert>(?:INSERT\s++(?:IGNORE\s++)?|REPLACE\s++)INTO\s++(?P<into>" + _NAME + rb")"
    rb"\s*+(?P<columns>\((?:`[^`]++`|[\w\s,])++\))?\s*+VALUES\s*+(?=\())"
    rb"|(?P<create>CREATE\s++TABLE\s++(?:IF\s++NOT\s++EXISTS\s++)?(?P<made>" + _NAME + rb")\s*+\()"
    # What a dump holds besides, none of which changes rows. A misspelt INSERT is not among them.
    rb"|(?P<other>(?:SET|USE|DROP|LOCK|UNLOCK|ALTER|CREATE\s++DATABASE|START|BEGIN|COMMIT)(?![\w`]))",
    re.IGNORECASE | re.DOTALL,
)
_WHOLE_BLOCK = re.compile(_BLOCK, re.DOTALL)
_WHOLE = re.compile(
    rb"(?:[^;'\"`/\#-]++|" + _STRING + rb"|" + _BLOCK + rb"|" + _LINE + rb"[^\n]*+|/(?!\*)|-)*+;", re.DOTALL
)
_PARENTHESES = re.compile(rb"[()]|" + _STRING + rb"|" + _BLOCK, re.DOTALL)


@dataclass(frozen=True)
class Comment:
    """The text of a comment that runs to the end of its line, without the dashes."""

    text: str


@dataclass(frozen=True)
class CreateTable:
    """A table, and the text between the parentheses after its name."""

    table: str
    body: bytes


@dataclass(frozen=True)
class InsertInto:
    """A table that gets rows, and the list of columns where there is one; the window stands at the first row."""

    table: str
    columns: bytes | None


def statements(window: ByteWindow) -> Iterator[Comment | CreateTable | InsertInto]:
    """Walk over a dump; settings and statements that leave the rows as they are stay unmentioned.

    Who gets an ``InsertInto`` has to move the window behind the semicolon of its rows.

    Raises:
        ValueError: for a statement that no dump holds, or one that does not end, with the byte.
    """
    while True:
        while len(window.data) - window.at < _AHEAD and window.grow():
            pass
        if window.at == len(window.data):
            return
        head = _HEAD.match(window.data, window.at)
        if head is None:
            raise window.error("an SQL statement such as dumps hold")
        match head.lastgroup:
            case "space" | "empty":
                window.at = head.end()
            case "line":
                yield Comment(_line(window).lstrip("-# ").rstrip())
            case "block":
                _take(window, _WHOLE_BLOCK, "a comment that ends with */")
            case "insert":
                window.at = head.end()
                yield InsertInto(_name(head["into"]), head["columns"])
            case "create":
                yield _create_table(window, _name(head["made"]), len(head[0]))
            case _:
                skip_statement(window)


def skip_statement(window: ByteWindow) -> None:
    """Move behind the next semicolon that stands outside strings and comments."""
    _take(window, _WHOLE, "a statement that ends with ';'")


def _name(text: bytes) -> str:
    return text.strip(b"`").decode("utf-8", "replace")


def _take(window: ByteWindow, pattern: re.Pattern[bytes], expected: str) -> bytes:
    while (found := pattern.match(window.data, window.at)) is None:
        if not window.grow():
            raise window.error(expected, f"no end of what begins with {seen(window.data, window.at)}")
    window.at = found.end()
    return found[0]


def _line(window: ByteWindow) -> str:
    while (end := window.data.find(b"\n", window.at)) < 0 and window.grow():
        pass
    begun, window.at = window.at, end if end >= 0 else len(window.data)
    return window.data[begun : window.at].decode("utf-8", "replace")


def _create_table(window: ByteWindow, table: str, opened: int) -> CreateTable:
    """The statement where the window stands, whose list of columns begins ``opened`` bytes on."""
    whole = _take(window, _WHOLE, "a CREATE TABLE statement that ends with ';'")
    depth = 1
    for token in _PARENTHESES.finditer(whole, opened):
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
        if depth == 0:
            return CreateTable(table, whole[opened : token.start()])
    raise window.error("a list of columns that is closed", seen(whole), ahead=-len(whole))
