"""A place where a text cannot be read."""

from __future__ import annotations

__all__ = ["Fault", "seen"]


class Fault(Exception):
    """What was expected, what stands there, and where in the text at hand; the file's reader makes it a ValueError.

    Attributes:
        at: index into the text that was being read.
    """

    def __init__(self, expected: str, got: str, *, at: int = 0) -> None:
        super().__init__(expected, got, at)
        self.expected, self.got, self.at = expected, got, at


def seen(text: bytes, at: int = 0) -> str:
    """The bytes that begin at ``at``, for a message.

    >>> seen(b"INSRT INTO `page` VALUES (1,2)"), seen(b"(1,2)", 5)
    ("'INSRT INTO `page` VALUES'", 'the end of the file')
    """
    return ascii(text[at : at + 24].decode("utf-8", "replace")) if at < len(text) else "the end of the file"
