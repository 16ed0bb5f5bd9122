"""String literals of SQL as the bytes that they stand for."""

from __future__ import annotations

import re

__all__ = ["string_value", "unescaped"]

_ESCAPE = re.compile(rb"\\(.)|''", re.DOTALL)
_SPECIAL = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a", b"%": b"\\%", b"_": b"\\_"}


def unescaped(text: bytes) -> bytes:
    r"""What the inside of a quoted string stands for, by MySQL's rules: ``\%`` and ``\_`` keep their backslash.

    >>> unescaped(rb"O\'Neill ''\\''")
    b"O'Neill '\\'"
    """
    return _ESCAPE.sub(_replacement, text)


def _replacement(escape: re.Match[bytes]) -> bytes:
    letter = escape[1]
    return b"'" if letter is None else _SPECIAL.get(letter, letter)


def string_value(literal: bytes) -> bytes | None:
    """The value of ``'…'``, ``_binary '…'``, ``0x…`` or ``NULL``.

    Raises:
        ValueError: for any other literal, such as a number.
    """
    if literal == b"NULL":
        return None
    if literal[:2] == b"0x":
        return bytes.fromhex(literal[2:].decode("ascii"))
    if literal[-1:] != b"'":
        raise ValueError(f"a string, got {literal!r}")
    text = literal[literal.index(b"'") + 1 : -1]
    return unescaped(text) if b"\\" in text or b"''" in text else text
