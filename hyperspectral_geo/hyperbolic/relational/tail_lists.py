"""All known tails of each question (head, relation), in one run of numbers."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph

__all__ = ["TailLists", "both_ways"]


def both_ways(triples: Int[Tensor, "k 3"], relations: int) -> Int[Tensor, "k2 3"]:
    """Triples (h, r, t), then their inverses (t, r + m, h) with m relations.

    Example:
        >>> both_ways(torch.tensor([[5, 0, 7]]), 2).tolist()
        [[5, 0, 7], [7, 2, 5]]
    """
    head, relation, tail = triples.unbind(1)
    return torch.cat([triples, torch.stack([tail, relation + relations, head], 1)])


class TailLists:
    """The questions that some triples answer, each once, and their tails; inverse relations are relations too.

    Attributes:
        heads, relations: of each question, (q,).
        first: the tails of question i are ``tails[first[i] : first[i + 1]]``, (q + 1,).
        tails: each tail of a question once, (k,).

    Example:
        >>> kg = KnowledgeGraph.from_triples([("a", "r", "b"), ("a", "r", "c")])
        >>> lists = TailLists(kg, kg.train)
        >>> len(lists), [tails.tolist() for tails in lists.of(torch.tensor([0]), torch.tensor([0]))]
        (3, [[0, 0], [1, 2]])
    """

    def __init__(self, kg: KnowledgeGraph, *splits: Int[Tensor, "_ 3"]) -> None:
        self._ways = 2 * len(kg.relations)
        triples = both_ways(torch.cat(splits), len(kg.relations)).unique(dim=0)
        keys, counts = self._keys(triples[:, 0], triples[:, 1]).unique_consecutive(return_counts=True)
        self._known = keys
        self.heads, self.relations = keys // self._ways, keys % self._ways
        self.first = torch.cat([keys.new_zeros(1), counts.cumsum(0)])
        self.tails = triples[:, 2].contiguous()

    def __len__(self) -> int:
        return len(self.heads)

    def of(self, heads: Int[Tensor, " b"], relations: Int[Tensor, " b"]) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """The tails of some questions: row of the question, ascending, and number of the tail."""
        keys = self._keys(heads, relations)
        place = torch.searchsorted(self._known, keys).clamp_max(len(self) - 1)
        return self.at(place, found=self._known[place] == keys)

    def at(
        self, places: Int[Tensor, " b"], *, found: Tensor | None = None
    ) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """The tails of questions by their own number; none for those that are not ``found``."""
        counts = self.first[places + 1] - self.first[places]
        if found is not None:
            counts = counts * found
        rows = torch.repeat_interleave(counts)
        gaps = self.first[places] - (counts.cumsum(0) - counts)
        return rows, self.tails[gaps[rows] + torch.arange(len(rows))]

    def _keys(self, heads: Tensor, relations: Tensor) -> Tensor:
        return heads * self._ways + relations
