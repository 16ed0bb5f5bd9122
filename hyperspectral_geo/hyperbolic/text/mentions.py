"""Which titles a text mentions, how often and where: what a link would be made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.text.words import words

__all__ = ["MentionTable", "TitleIndex"]

_QUALIFIER = re.compile(r"\s*\([^)]*\)\s*$")


@dataclass(frozen=True, eq=False)
class MentionTable:
    """Row i says that the text of page ``pairs[i, 0]`` mentions the title of page ``pairs[i, 1]``.

    Attributes:
        pairs: (k, 2), in ascending order, each once; never a page and itself.
        counts: how often.
        first: word of the text at which it comes first, from 0.
        cased: share of the mentions that are written as the title is.
        small: share of them without any capital.
    """

    pairs: Int[Tensor, "k 2"]
    counts: Float[Tensor, " k"]
    first: Float[Tensor, " k"]
    cased: Float[Tensor, " k"]
    small: Float[Tensor, " k"]

    def __len__(self) -> int:
        return len(self.pairs)


class TitleIndex:
    """Titles by their words, to be found in texts; longer titles first, capitals and a last "(…)" left aside.

    A text that says "the Prime Minister of Japan" mentions "Prime Minister of Japan" and not "Japan". Titles that are
    alike but for case and qualifier, such as "Mercury (planet)" and "Mercury (element)", are all mentioned.

    Args:
        titles: of the pages, numbered from 0.

    Example:
        >>> index = TitleIndex(["Beer", "Yeast", "Mercury (planet)"])
        >>> table = index.find(["Beer is brewed with yeast; beer foams."], pages=[0])
        >>> table.pairs.tolist(), table.counts.tolist(), table.first.tolist(), table.small.tolist()
        ([[0, 1]], [1.0], [4.0], [1.0])
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._written = [tuple(words(_QUALIFIER.sub("", title)) or words(title)) for title in titles]
        self._qualified = [_QUALIFIER.search(title) is not None for title in titles]
        self._places: dict[tuple[str, ...], list[int]] = {}
        lengths: dict[str, set[int]] = {}
        for page, written in enumerate(self._written):
            if written:
                key = tuple(word.lower() for word in written)
                self._places.setdefault(key, []).append(page)
                lengths.setdefault(key[0], set()).add(len(key))
        self._lengths = {word: tuple(sorted(found, reverse=True)) for word, found in lengths.items()}

    def __len__(self) -> int:
        return len(self._written)

    def shapes(self) -> Float[Tensor, "n 4"]:
        """Of each title: how many share it, its words, whether it has a qualifier, whether its later words are small.

        "Bank of England" has a capital later on and is a name wherever it stands; "Sea lion" may be just words.
        """
        rows = np.zeros((len(self), 4), np.float32)
        for key, pages in self._places.items():
            for page in pages:
                later = self._written[page][1:]
                small = all(word == word.lower() for word in later)
                rows[page] = (len(pages), len(key), self._qualified[page], small)
        return torch.from_numpy(rows)

    def find(self, texts: Iterable[str], pages: Sequence[int]) -> MentionTable:
        """What the texts of some pages mention.

        Args:
            texts: of the pages.
            pages: their numbers, ascending; a text does not mention its own title.
        """
        blocks = [self._in_one(text, page) for text, page in zip(texts, pages, strict=True)]
        table = np.concatenate([np.zeros((0, 6)), *blocks])
        rest = torch.from_numpy(table[:, 2:].astype(np.float32)).unbind(1)
        return MentionTable(torch.from_numpy(table[:, :2].astype(np.int64)), *rest)

    def _in_one(self, text: str, page: int) -> np.ndarray:
        """Rows (page, mentioned, count, first, cased share, small share) of one text."""
        written = words(text)
        lower = [word.lower() for word in written]
        found: dict[int, list[float]] = {}
        at = 0
        while at < len(lower):
            step = 1
            for length in self._lengths.get(lower[at], ()):
                hit = self._places.get(tuple(lower[at : at + length]))
                if hit is not None:
                    self._note(found, hit, written[at : at + length], lower[at : at + length], at)
                    step = length
                    break
            at += step
        found.pop(page, None)
        rows = [(page, other, n, first, cased / n, small / n) for other, (n, first, cased, small) in found.items()]
        return np.array(sorted(rows), float).reshape(-1, 6)

    def _note(self, found: dict[int, list[float]], pages: list[int], written: list[str], lower: list[str], at: int):
        for other in pages:
            entry = found.setdefault(other, [0.0, float(at), 0.0, 0.0])
            entry[0] += 1.0
            entry[2] += tuple(written) == self._written[other]
            entry[3] += written == lower
