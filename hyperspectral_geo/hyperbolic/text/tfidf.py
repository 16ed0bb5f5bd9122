"""Texts as vectors without any model: words weighted by how rare they are, reduced to their main directions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.text.words import words

__all__ = ["Tfidf"]

_OFTEN = 0.8  # a word in more of the texts says nothing about any
_SMALL = 300  # rows or columns: up to here the whole decomposition takes less than a second


@dataclass(frozen=True, eq=False)
class Tfidf:
    """Latent semantic analysis: x = t V, t the TF-IDF row of a text at unit length, V the main right directions.

    Entry of a word that stands n > 0 times in the text and in f of N texts: (1 + log n)(1 + log((1 + N)/(1 + f))).

    Attributes:
        vocabulary: the words, in lower case.
        rarity: 1 + log((1 + N)/(1 + f)) of each, (w,).
        directions: V, (w, f), orthonormal columns.

    References:
        Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41, 1990.

    Example:
        >>> texts = ["beer and hops", "beer and yeast", "iron and steel", "steel and coal"]
        >>> vectors = Tfidf.fit(texts, dim=2, least=1)
        >>> found = vectors.encode(["hops and beer", "coal and iron"])
        >>> found.shape, bool((vectors.encode(texts[:1]) @ found.T)[0].argmax() == 0)
        (torch.Size([2, 2]), True)
    """

    vocabulary: tuple[str, ...]
    rarity: Float[Tensor, " w"]
    directions: Float[Tensor, "w f"]

    @classmethod
    def fit(cls, texts: Sequence[str], *, dim: int = 256, most: int = 40_000, least: int = 3) -> Tfidf:
        """Vocabulary, rarities and directions of some texts.

        Args:
            texts: at least two that share words.
            dim: f, how many directions; fewer where the texts have fewer.
            most: words kept, those in most texts first; words in more than 0.8 of the texts are left out.
            least: texts that a word must stand in.

        Raises:
            ValueError: if no words are left, or a number is below 1.
        """
        require_counts(dim=dim, most=most, least=least)
        counts = [Counter(word.lower() for word in words(text)) for text in texts]
        spread = Counter(word for count in counts for word in count)
        limit = max(_OFTEN * len(texts), least)
        kept = sorted((word for word, f in spread.items() if least <= f <= limit), key=lambda w: (-spread[w], w))[:most]
        if not kept:
            raise ValueError(
                f"texts: expected words that stand in {least} or more of the texts, got none in {len(texts)}; "
                "lower least, or pass vectors of a sentence encoder"
            )
        vocabulary = tuple(sorted(kept))
        found = np.array([spread[word] for word in vocabulary], float)
        rarity = 1 + np.log((1 + len(texts)) / (1 + found))
        table = _weighted(counts, {word: i for i, word in enumerate(vocabulary)}, rarity)
        directions = torch.from_numpy(np.ascontiguousarray(_main_directions(table, dim))).float()
        return cls(vocabulary, torch.from_numpy(rarity).float(), directions)

    @property
    def width(self) -> int:
        """f, how many numbers a vector has."""
        return self.directions.shape[1]

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n f"]:
        """Vector of each text; zeros for one without known words."""
        counts = [Counter(word.lower() for word in words(text)) for text in texts]
        table = _weighted(counts, self._numbers, self.rarity.double().numpy())
        return torch.from_numpy(table @ self.directions.double().numpy()).float()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary)}


def _weighted(counts: Sequence[Counter[str]], numbers: dict[str, int], rarity: np.ndarray) -> csr_array:
    """The TF-IDF table, rows of unit length."""
    known = [[(numbers[word], n) for word, n in count.items() if word in numbers] for count in counts]
    starts = np.cumsum([0, *map(len, known)])
    columns = np.array([word for row in known for word, _ in row], np.int64)
    times = np.array([n for row in known for _, n in row], float)
    values = (1 + np.log(times)) * rarity[columns] if len(times) else times
    table = csr_array((values, columns, starts), shape=(len(counts), len(numbers)))
    lengths = np.sqrt(np.asarray(table.multiply(table).sum(1)).ravel())
    return csr_array(table.multiply(1 / np.maximum(lengths, 1e-12)[:, None]))


def _main_directions(table: csr_array, dim: int) -> np.ndarray:
    """Right singular vectors, the largest first, each with a fixed sign."""
    if dim >= min(table.shape) or min(table.shape) <= _SMALL:
        _, values, right = np.linalg.svd(table.toarray(), full_matrices=False)
        right = right[values > 1e-9 * values[0]][:dim]
    else:
        right = _randomized(table, dim)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])
    return (right * signs[:, None]).T


def _randomized(table: csr_array, dim: int) -> np.ndarray:
    """Halko, Martinsson and Tropp (2011, arXiv 0909.4061), four power iterations: a fifth of the time of Lanczos."""
    basis = np.random.default_rng(0).standard_normal((table.shape[1], min(dim + 16, *table.shape)))
    for _ in range(4):
        basis = np.linalg.qr(table.T @ np.linalg.qr(table @ basis)[0])[0]
    _, _, right = np.linalg.svd(table @ basis, full_matrices=False)
    return (right @ basis.T)[:dim]
