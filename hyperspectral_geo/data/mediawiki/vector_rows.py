"""Rows by operations on whole arrays: the fast way, for what dumps nearly always hold."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product

import numpy as np

from hyperspectral_geo.data.mediawiki.row_layout import RowLayout
from hyperspectral_geo.data.mediawiki.sql_strings import unescaped

__all__ = ["vector_rows"]

_DIGITS = b"0123456789"
# The bytes FE and FF are not in UTF-8. In strings they stand for what was escaped, outside for what is no integer.
_BACKSLASH, _QUOTE = b"\\\xfe", b"\\\xff"
_NULL, _REAL = b"\xfe", b"\xff"
_REAL_LITERAL = re.compile(rb"(?<=[(,])-?\d++(?:\.\d++(?:e[-+]?\d++)?|e[-+]?\d++)")
_TO_SHAPE = bytes.maketrans(_NULL + _REAL, b"'.")
_TO_NUMBERS = bytes.maketrans(b"'" + _NULL + _REAL, b"100")


def _table() -> tuple[bytes, np.ndarray]:
    """Each byte's class, and for each pair of classes whether the one may follow the other."""
    classes = bytearray([7]) * 256
    for number, members in enumerate((b"(", b",", b")", _DIGITS, b"-", b"'" + _NULL + _REAL)):
        for byte in members:
            classes[byte] = number
    opening, comma, closing, digit, minus, mark = range(6)
    follows = np.zeros(64, dtype=bool)
    for first, second in (
        *product((opening, comma), (digit, minus, mark)),
        *product((digit, mark), (comma, closing)),
        *((minus, digit), (digit, digit), (closing, comma), (comma, opening)),
    ):
        follows[first << 3 | second] = True
    return bytes(classes), follows


_CLASSES, _FOLLOWS = _table()


def vector_rows(text: bytes, layout: RowLayout) -> tuple[list[np.ndarray], int, bool] | None:
    """The whole rows at the beginning of ``text``, up to a semicolon outside strings or to the end.

    Strings are cut out at the quotes once the escaped quotes are masked. What is left, ``(12,0,'),(13,0,')``, must be
    as many times the row's shape as there are rows, with nothing but digits and signs in between, and every two
    neighbouring bytes must be ones that may follow one another; then all of it is read as one array of integers.

    Returns:
        The wanted columns, int64 or objects (bytes, and None for NULL); how many bytes of ``text`` were read, the
        comma or semicolon after the last row included; and whether it was a semicolon. None if there is anything else
        than such rows, right or wrong: spaces, doubled quotes, wanted real numbers, NULL among integers, more than 64
        bits.
    """
    real = {column.name for column in layout.columns if column.kind == "real"}
    if not real.isdisjoint(layout.wanted) or b"\xfe" in text or b"\xff" in text:
        return None
    escapes = b"\\" in text
    if escapes:
        text = text.replace(b"\\\\", _BACKSLASH).replace(b"\\'", _QUOTE)
    pieces = text.split(b"'")
    outside = b"'".join(pieces[::2])
    stop = outside.find(b";")
    ended = stop >= 0
    if not ended:
        stop = outside.rfind(b"),") + 1
    rows = outside[:stop]
    strings = pieces[1::2][: rows.count(b"'")]
    used = stop + 1 + len(strings) + sum(map(len, strings))
    rows = rows.replace(b"NULL", _NULL)
    numbers = _numbers(_REAL_LITERAL.sub(_REAL, rows) if real else rows, _shape(layout))
    if numbers is None:
        return None
    if escapes:
        _unescape(strings, text)
    return _columns(numbers, strings, layout), used, ended


@lru_cache(maxsize=64)
def _shape(layout: RowLayout) -> bytes:
    """A row without digits and signs, and a comma: ``(,,'),``."""
    return b"(" + b",".join({"integer": b"", "real": b".", "bytes": b"'"}[c.kind] for c in layout.columns) + b"),"


def _numbers(rows: bytes, shape: bytes) -> np.ndarray | None:
    """(rows, columns) int64 with 1 for a string and 0 for NULL, or None if it is not rows of this shape."""
    found = rows.translate(_TO_SHAPE, _DIGITS + b"-")
    count = (len(found) + 1) // len(shape)
    if count == 0 or found != (shape * count)[:-1]:
        return None
    classes = np.frombuffer(rows.translate(_CLASSES), np.uint8)
    if not _FOLLOWS[classes[:-1] << 3 | classes[1:]].all():
        return None
    numbers = np.fromstring(rows.translate(_TO_NUMBERS, b"()"), np.int64, sep=",")
    limits = np.iinfo(np.int64)
    if numbers.max() == limits.max or numbers.min() == limits.min:  # where larger integers end up as well
        return None
    return numbers.reshape(count, -1)


def _unescape(strings: list[bytes], text: bytes) -> None:
    """Put into ``strings``, which were cut out of ``text``, what their escapes stand for, where there are any."""
    stored = np.frombuffer(text, np.uint8)
    quotes, backslashes = np.flatnonzero(stored == ord("'")), np.flatnonzero(stored == ord("\\"))
    numbers = np.unique(np.searchsorted(quotes, backslashes) // 2)  # string i lies between the quotes 2i and 2i + 1
    for number in numbers[numbers < len(strings)].tolist():
        strings[number] = unescaped(strings[number].replace(_QUOTE, b"\\'").replace(_BACKSLASH, b"\\\\"))


def _columns(numbers: np.ndarray, strings: list[bytes], layout: RowLayout) -> list[np.ndarray]:
    of_strings = [place for place, column in enumerate(layout.columns) if column.kind == "bytes"]
    texts = np.empty((len(numbers), 0), dtype=object)
    if not {*of_strings}.isdisjoint(layout.places):
        given = numbers[:, of_strings] == 1
        texts = np.full(given.shape, None, dtype=object)
        texts[given] = np.fromiter(strings, dtype=object, count=len(strings))
    return [
        texts[:, of_strings.index(place)] if place in of_strings else numbers[:, place].copy()
        for place in layout.places
    ]
