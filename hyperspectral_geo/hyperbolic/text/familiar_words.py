"""Whether a text is in the language of the texts that an encoder was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyperspectral_geo.hyperbolic.text.words import words

__all__ = ["FamiliarWords"]

_COMMON = 100  # function words of a language, with little else among them
_KEPT = 20_000
_LONG = 12  # words from which a text has function words for sure


@dataclass(frozen=True)
class FamiliarWords:
    """The words of known texts, those in most texts first, and how large a share of a text the first 100 usually are.

    Attributes:
        order: the words, in lower case.
        usual: share of the 100 commonest words in a known text, the lowest hundredth.
    """

    order: tuple[str, ...]
    usual: float

    @classmethod
    def of(cls, texts: Sequence[str]) -> FamiliarWords:
        """Those of some texts."""
        lower = [[word.lower() for word in words(text)] for text in texts]
        spread = Counter(word for text in lower for word in set(text))
        order = tuple(sorted(spread, key=lambda word: (-spread[word], word))[:_KEPT])
        common = set(order[:_COMMON])
        shares = [sum(word in common for word in text) / len(text) for text in lower if len(text) >= _LONG]
        return cls(order, float(np.quantile(shares, 0.01)) if shares else 0.0)

    def foreign(self, text: str) -> bool:
        """Whether a text hardly uses these words: less than half the usual share of the commonest, or of a short text
        not one word.

        >>> known = FamiliarWords.of(["the beer of the land is made of hops and of yeast and of the best water"] * 3)
        >>> known.foreign("Bier wird aus Hopfen, Hefe und dem besten Wasser gebraut, seit vielen Jahrhunderten schon")
        True
        >>> known.foreign("yeast")
        False
        """
        lower = [word.lower() for word in words(text)]
        if len(lower) < _LONG:
            return not any(word in self._known for word in lower)
        return sum(word in self._common for word in lower) / len(lower) < self.usual / 2

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.order)

    @cached_property
    def _common(self) -> frozenset[str]:
        return frozenset(self.order[:_COMMON])
