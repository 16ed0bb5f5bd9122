"""Ten thousand damaged dumps: the rows that a slow reader finds as well, or an error with its byte; nothing else."""

from __future__ import annotations

import gzip
import io
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from mediawiki_cases import COMPLETED, HEAD, INTO, VALUES

from hyperspectral_geo.data.mediawiki import byte_window, iterate_rows, sql_rows

# A reader that goes from byte to byte


class SlowReader:
    """All rows of the table t, by the rules of SQL alone: it knows no columns, and passes over other statements."""

    def __init__(self, dump: bytes) -> None:
        self.dump, self.at, self.rows = dump, 0, []
        while self.at < len(dump):
            if self.here().isspace() or self.here() == b";":
                self.at += 1
            elif not self.skipped_comment():
                opened = dump.find(b"(", self.at)
                words = dump[self.at : opened].replace(b"`t`", b" `t` ").split() if opened >= 0 else []
                upper = [word.upper() for word in words]
                if len(words) == 4 and upper[:2] + upper[3:] == [b"INSERT", b"INTO", b"VALUES"] and words[2] == b"`t`":
                    self.at = opened
                    self.insert()
                else:
                    self.statement()

    def here(self, size: int = 1) -> bytes:
        return self.dump[self.at : self.at + size]

    def find(self, what: bytes, begin: int) -> int:
        found = self.dump.find(what, begin)
        if found < 0:
            raise ValueError("no end")
        return found

    def skipped_comment(self) -> bool:
        dashes = self.here(2) == b"--" and (self.here(3)[2:].isspace() or self.here(3) == b"--")
        if dashes or self.here() == b"#":
            end = self.dump.find(b"\n", self.at)
            self.at = len(self.dump) if end < 0 else end
        elif self.here(2) == b"/*":
            self.at = self.find(b"*/", self.at + 2) + 2
        else:
            return False
        return True

    def statement(self) -> None:
        """Go behind the next semicolon that is not in quotes or in a comment."""
        while self.here() != b";":
            if self.here() == b"":
                raise ValueError("no semicolon")
            if self.here() in (b"'", b'"'):
                self.string(self.here())
            elif self.here() == b"`":
                self.at = self.find(b"`", self.at + 1) + 1
            elif not self.skipped_comment():
                self.at += 1
        self.at += 1

    def string(self, quote: bytes = b"'") -> bytes:
        value, self.at = b"", self.at + 1
        while True:
            byte, second = self.here(), self.here(2)[1:]
            if byte == b"" or (byte == b"\\" and second == b""):
                raise ValueError("no quote")
            self.at += 1
            if byte == b"\\":
                special = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}
                value += b"\\" + second if second in (b"%", b"_") else special.get(second, second)
            elif byte == quote and second != quote:
                return value
            else:
                value += byte
            if byte in (b"\\", quote):
                self.at += 1

    def literal(self) -> int | float | bytes | None:
        if self.here() == b"'":
            return self.string()
        begin = self.at
        while self.here().isalnum() or self.here() in (b"-", b"+", b".", b"_"):
            self.at += 1
        word = self.dump[begin : self.at]
        if word == b"NULL":
            return None
        if word == b"_binary" and self.here().isspace():
            self.space()
            if self.here() == b"'":
                return self.string()
        if word[:2] == b"0x":
            return bytes.fromhex(word[2:].decode())
        if b"_" in word or not word.removeprefix(b"-")[:1].isdigit():  # Python reads 1_000, and SQL does not
            raise ValueError("no value")
        return float(word) if {*b".eE"} & {*word} else int(word)

    def space(self) -> None:
        while self.here().isspace():
            self.at += 1

    def insert(self) -> None:
        end = b","
        while end == b",":
            self.space()
            if self.here() != b"(":
                raise ValueError("no row")
            row, between = [], b","
            while between == b",":
                self.at += 1
                self.space()
                row.append(self.literal())
                self.space()
                between = self.here()
            if between != b")":
                raise ValueError("no end of the row")
            self.rows.append(row)
            self.at += 1
            self.space()
            end = self.here()
            self.at += 1
        if end != b";":
            raise ValueError("no end of the rows")


def expected_rows(dump: bytes) -> list[tuple] | None:
    """(id, title) of all rows, or None if one of them is wrong."""
    try:
        rows = SlowReader(dump).rows
    except ValueError:
        return None
    right = all(
        len(row) == 3 and type(row[0]) is int and -(2**63) <= row[0] < 2**63 and not isinstance(row[2], int | float)
        for row in rows
    )
    return [(row[0], row[2]) for row in rows] if right else None


class InMemory(type(Path())):
    """A file that is not written: ten thousand would take longer than all else."""

    stored = b""

    def open(self, *_args, **_options):
        return io.BytesIO(self.stored)


def outcome(stored: bytes) -> list[tuple] | None:
    """(id, title) of all rows, or None for an error, which must tell the byte."""
    path = InMemory("t.sql")
    path.stored = stored
    found = []
    try:
        for block in iterate_rows(path, "t", ["id", "title"]):
            found += zip(block["id"].tolist(), block["title"].tolist(), strict=True)
    except ValueError as error:
        said = str(error)
    else:
        return found
    assert re.fullmatch(r"t\.sql, byte \d+( of the uncompressed content)?: expected .+, got .+; .+", said)
    return None


# The mutants

DUMP = (
    b"-- MySQL dump 10.19  Distrib\n/*!40101 SET NAMES utf8mb4 */;\nDROP TABLE IF EXISTS `t`;\n"
    + HEAD
    + b"LOCK TABLES `t` WRITE;\n"
    + INTO
    + rb"(1,0,'A'),(2,-1,'O\'Neill'),(3,0,'C:\\'),(4,NULL,'a),(b;'),(50,0,'\\\'\"'),(6,0,NULL),(777,0,'');"
    + b"\n"
    + INTO
    + "(8,0,'it''s'),(9,0,'Žižek'),(10,0,'INSERT INTO `t` VALUES (');\n".encode()
    + b"UNLOCK TABLES;\n"
    + COMPLETED
)
INTERESTING = b"'\\(),;-`0N \n"


def mutant(rng: random.Random, whole: bytes) -> bytes:
    """The same with a bit turned, a byte changed or put in, a part taken out, repeated, moved, or cut off."""
    stored = bytearray(whole)
    at, begin = rng.randrange(len(stored)), rng.randrange(len(stored))
    size = rng.choice((1, 1, 1, 2, 4, 16, 64))
    match rng.randrange(7):
        case 0:
            stored[at] ^= 1 << rng.randrange(8)
        case 1:
            stored[at] = rng.choice(INTERESTING)
        case 2:
            stored.insert(at, rng.choice(INTERESTING))
        case 3:
            del stored[at : at + size]
        case 4:
            stored[at:at] = stored[at : at + size]
        case 5:
            stored[at : at + size] = stored[begin : begin + size]
        case 6:
            del stored[at:]
    return bytes(stored)


def packed(dump: bytes) -> bytes:
    return gzip.compress(dump, mtime=0)


def unpacked(stored: bytes) -> bytes:
    try:
        return gzip.decompress(stored)
    except (OSError, EOFError, zlib.error):
        return b"damaged, so that no row is right: INSERT INTO `t` VALUES ("


@pytest.mark.parametrize(
    ("count", "pack", "unpack", "least"),
    [(8000, bytes, bytes, 2000), (2000, packed, unpacked, 10)],
    ids=["plain", "gz"],
)
def test_mutants(count: int, pack: Callable, unpack: Callable, least: int, monkeypatch: pytest.MonkeyPatch):
    rng, whole = random.Random(count), pack(DUMP)
    assert outcome(whole) == expected_rows(DUMP)
    accepted = 0
    for number in range(count):
        monkeypatch.setattr(sql_rows, "_FEW", (0, 10**9)[number % 2])
        monkeypatch.setattr(byte_window, "CHUNK", (1 << 20, 64, 100)[number % 3])
        stored = mutant(rng, whole)
        found = outcome(stored)
        if found is not None:
            assert found == expected_rows(unpack(stored)), f"mutant {number}: {unpack(stored)!r}"
            accepted += 1
    assert accepted >= least  # else an error for everything would do


@pytest.mark.parametrize(("rows", "titles"), VALUES.values(), ids=VALUES)
def test_the_slow_reader_reads_hard_rows(rows: bytes, titles: list):
    assert expected_rows(HEAD + INTO + rows) == list(enumerate(titles, start=1))
