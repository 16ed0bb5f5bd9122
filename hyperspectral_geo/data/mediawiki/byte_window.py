"""The uncompressed bytes of a dump, plain or gzipped, through a window that slides over them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path

from hyperspectral_geo.data.mediawiki.fault import Fault, seen

__all__ = ["ByteWindow", "uncompressed"]

CHUNK = 1 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # may stand in a column's name, but should not reach a terminal
LONGEST = 16 << 20
"""Bytes that one row, or a statement that is passed over, may have; mysqldump ends its own at one megabyte."""


def uncompressed(path: Path, hashed: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
    """Chunks of the file's content, at most 1 MB each; whether it is gzipped is seen from its first two bytes.

    Args:
        path: a plain or gzipped file; several gzip members one after the other are one content.
        hashed: gets the bytes as they lie on the disk, so that hashing needs no second reading.

    Raises:
        ValueError: if the file is empty, cut short or damaged, with the byte of the uncompressed content reached.
        OSError: if the file cannot be read.
    """
    done = 0
    with path.open("rb") as file:
        stored = _read(file, hashed)
        if stored[:2] != b"\x1f\x8b":
            if not stored:
                raise ValueError(f"{path}, byte 0: expected an SQL dump, got an empty file; download it again")
            while stored:
                yield stored
                stored = _read(file, hashed)
            return
        member = zlib.decompressobj(wbits=31)
        while stored:
            if member.eof:  # only a further member, or the zeros that tapes and block devices pad with, may follow
                stored = stored.lstrip(b"\0")
                if not stored:
                    stored = _read(file, hashed)
                    continue
                member = zlib.decompressobj(wbits=31)
            try:
                plain = member.decompress(stored, CHUNK)
            except zlib.error as error:
                raise ValueError(
                    f"{path}, byte {done}: expected gzip data, got damage after this byte of the uncompressed content "
                    f"({error}); download it again"
                ) from None
            done += len(plain)
            if plain:
                yield plain
            stored = (member.unused_data if member.eof else member.unconsumed_tail) or _read(file, hashed)
        if not member.eof:
            raise ValueError(
                f"{path}, byte {done}: expected more gzip data, got the end of the file, which was cut short here; "
                "download it again"
            )


def _read(file: BufferedIOBase, hashed: Callable[[bytes], object] | None) -> bytes:
    stored = file.read(CHUNK)
    if hashed is not None:
        hashed(stored)
    return stored


class ByteWindow:
    """A part of a file's uncompressed content: ``data[at:]`` is still to be read.

    Attributes:
        data: the bytes at hand.
        at: where in ``data`` the reader stands.
        ended: whether the content ends with ``data``.
    """

    def __init__(self, path: Path, hashed: Callable[[bytes], object] | None = None) -> None:
        self.path = path
        self.data = b""
        self.at = 0
        self.ended = False
        self._passed = 0  # bytes of the content before data
        self._chunks = uncompressed(path, hashed)

    def grow(self) -> bool:
        """Double what is still to be read, by one chunk at least; false at the end, or if it is long enough."""
        rest = self.data[self.at :]
        if self.ended or len(rest) > LONGEST:
            return False
        parts, size = [rest], 0
        while size < max(len(rest), 1):
            chunk = next(self._chunks, None)
            if chunk is None:
                self.ended = True
                break
            parts.append(chunk)
            size += len(chunk)
        self._passed += self.at
        self.data, self.at = b"".join(parts), 0
        return size > 0

    def skip_space(self) -> None:
        """Move to the next byte that is not space."""
        rest = self.data[self.at : self.at + 64]
        while rest.isspace() or (not rest and self.grow()):
            self.at += len(rest)
            rest = self.data[self.at : self.at + 64]
        self.at += len(rest) - len(rest.lstrip())

    def error(self, expected: str, got: str = "", *, ahead: int = 0) -> ValueError:
        """The error to raise for what stands here or ``ahead`` bytes on, with its byte in the uncompressed content.

        Args:
            expected: what should stand there.
            got: what stands there; by default the next bytes.
        """
        at = self.at + ahead
        said = _CONTROL.sub("?", f"expected {expected}, got {got or seen(self.data, at)}")
        return ValueError(
            f"{self.path}, byte {self._passed + at} of the uncompressed content: {said}; "
            "download the dump again, or repair it there"
        )

    def located(self, fault: Fault) -> ValueError:
        """The error to raise for a fault in the text that begins here."""
        return self.error(fault.expected, fault.got, ahead=fault.at)
