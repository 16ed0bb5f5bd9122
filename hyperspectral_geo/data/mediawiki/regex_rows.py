"""Rows of any values by one regular expression a table: the careful way, and where a wrong row is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from hyperspectral_geo.data.mediawiki.fault import Fault, seen
from hyperspectral_geo.data.mediawiki.row_layout import RowLayout
from hyperspectral_geo.data.mediawiki.sql_strings import string_value

__all__ = ["find_fault", "regex_rows"]

_STRING = rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'"
_NUMBER = rb"-?\d++(?:\.\d*+)?+(?:[eE][-+]?\d++)?+"
_HEXADECIMAL = rb"0x(?:[0-9A-Fa-f]{2})*+"
# The likely one first: an expression that takes what it gets and never turns back.
_VALUES = {
    "bytes": b"(?>" + b"|".join((_STRING, rb"NULL", _HEXADECIMAL, _NUMBER, rb"_binary\s++" + _STRING)) + b")",
    "integer": b"(?>" + b"|".join((_HEXADECIMAL, _NUMBER, rb"NULL", _STRING, rb"_binary\s++" + _STRING)) + b")",
}
_VALUE = re.compile(_VALUES["bytes"], re.DOTALL)
_SPACE = re.compile(rb"\s*+")

Values = list[np.ndarray]


@lru_cache(maxsize=64)
def _patterns(layout: RowLayout) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """All rows in one match, with a group for the semicolon; and one row with a group for each wanted value."""
    values = [_VALUES["bytes" if column.kind == "bytes" else "integer"] for column in layout.columns]
    row = rb"\(\s*+" + rb"\s*+,\s*+".join(values) + rb"\s*+\)\s*+"
    grouped = [b"(" + value + b")" if place in layout.places else value for place, value in enumerate(values)]
    one = rb"\(\s*+" + rb"\s*+,\s*+".join(grouped) + rb"\s*+\)\s*+[,;]"
    return re.compile(rb"(?:" + row + rb",\s*+)*+(?:" + row + rb"(;))?+", re.DOTALL), re.compile(one, re.DOTALL)


def regex_rows(text: bytes, layout: RowLayout) -> tuple[Values, int, bool]:
    """The whole rows at the beginning of ``text``, up to a semicolon or as far as rows follow one another.

    Returns:
        The wanted columns, int64, float64 or objects (bytes, and None for NULL); how many bytes were read; and whether
        the last of them is the semicolon.

    Raises:
        Fault: if a wanted value is not of its column's kind.
    """
    all_rows, one_row = _patterns(layout)
    run = all_rows.match(text)
    assert run is not None  # it matches the empty text as well
    found = one_row.findall(text, 0, run.end())
    if len(layout.places) == 1:
        groups = [found]
    else:
        groups = list(zip(*found, strict=True)) if found else [()] * len(layout.places)
    # Groups come in the order of the row, the columns in the order in which they were asked for.
    of_place = dict(zip(sorted(layout.places), groups, strict=True))
    try:
        values = [_READ[layout.columns[place].kind](of_place[place]) for place in layout.places]
    except (ValueError, OverflowError):
        raise _wrong_value(text[: run.end()], layout) from None
    return values, run.end(), run[1] is not None


def _integers(literals: Any) -> np.ndarray:
    return np.fromiter(map(int, literals), np.int64, len(literals))


def _reals(literals: Any) -> np.ndarray:
    return np.fromiter(map(float, literals), np.float64, len(literals))


def _texts(literals: Any) -> np.ndarray:
    plain = [
        text[1:-1] if text[0] == 39 and b"\\" not in text and b"''" not in text else string_value(text)
        for text in literals
    ]
    return np.fromiter(plain, object, len(plain))


_READ: dict[str, Callable[[Any], np.ndarray]] = {"integer": _integers, "real": _reals, "bytes": _texts}


def _wrong_value(text: bytes, layout: RowLayout) -> Fault:
    """The first wanted value that is not of its column's kind."""
    for row in _patterns(layout)[1].finditer(text):
        for group, place in enumerate(sorted(layout.places), start=1):
            column, at = layout.columns[place], row.start(group)
            try:
                _READ[column.kind]([row[group]])
            except (ValueError, OverflowError):
                kind = {"integer": "an integer of 64 bits", "real": "a number", "bytes": "a string"}[column.kind]
                return Fault(f"{kind} in the column {column.name}", seen(text, at), at=at)
    raise AssertionError("no value is wrong")


def find_fault(text: bytes, layout: RowLayout) -> Fault:
    """What is wrong with the row at the beginning of ``text``, token by token."""
    at, names = 0, [column.name for column in layout.columns]
    if text[:1] != b"(":
        return Fault("a row that begins with '('", seen(text))
    for place, name in enumerate(names):
        at = _after_space(text, at + 1)
        value = _VALUE.match(text, at)
        if value is None:
            what = "the end of the string that begins here" if text[at : at + 1] == b"'" else "a value"
            return Fault(f"{what} for the column {name}", seen(text, at), at=at)
        at = _after_space(text, value.end())
        last = place == len(names) - 1
        if text[at : at + 1] != (b")" if last else b","):
            rest = f"')' after {len(names)} values" if last else f"',' and a value for the column {names[place + 1]}"
            return Fault(rest, seen(text, at), at=at)
    at = _after_space(text, at + 1)
    return Fault("',' or ';' after the row", seen(text, at), at=at)


def _after_space(text: bytes, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
