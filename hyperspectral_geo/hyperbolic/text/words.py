"""Words of a text, and pieces of it that a sentence encoder can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["passages", "require_text", "require_texts", "words"]

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, in Unicode's sense and as they are written.

    >>> words("Brewer's yeast, naïve_2")
    ['Brewer', 's', 'yeast', 'naïve_2']
    """
    return _WORD.findall(text)


def passages(text: str, *, length: int = 180, most: int = 8) -> list[str]:
    """The first ``most`` pieces of ``length`` blank-separated words; one empty piece for an empty text.

    180 English words are about 256 tokens, which is what small sentence encoders read at once.

    >>> passages("a b c d e", length=2, most=2)
    ['a b', 'c d']
    """
    parts = text.split(None, length * most)[: length * most]
    return [" ".join(parts[at : at + length]) for at in range(0, len(parts), length)] or [""]


def require_text(text: object, where: str) -> str:
    """The text itself. Raises ``ValueError`` unless it is a string with at least one letter or digit."""
    if not isinstance(text, str):
        raise ValueError(f"{where}: expected a text, got {type(text).__name__}; decode bytes before")
    if _WORD.search(text) is None:
        raise ValueError(f"{where}: expected a text with words, got {text[:40]!r}; leave such pages out")
    return text


def require_texts(texts: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Each text of a page that has a name, checked. Raises ``ValueError`` for another number of texts or a wrong one.

    >>> list(require_texts(["brewed", "baked"], ["Beer", "Bread"]))
    ['brewed', 'baked']
    """
    if len(texts) != len(names):
        raise ValueError(f"texts: expected one for each of {len(names)} titles, got {len(texts)}")
    for name, text in zip(names, texts, strict=True):
        yield require_text(text, f"text of {name!r}")
