"""Wikispeedia with a tenth of its pages unknown: what may be learned from, and what is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.data import Wikispeedia
from hyperspectral_geo.hyperbolic import HopGraph, HopScores, hop_counts, hop_scores

__all__ = ["TextScores", "TextSplit"]

_HELD = 0.1


@dataclass(frozen=True)
class TextScores:
    """``HopScores`` of all pairs with a new page, and the mean average precision of new pages' links, out and in."""

    pairs: HopScores
    links_out: float
    links_in: float


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Known pages first, then new ones, of which only titles and texts may be looked at.

    Attributes:
        graph: links among the known pages alone; hops for training are counted along these.
        new: titles of the new pages.
        hops: true hop counts of all pages along all links.
        texts: title → text of all pages.
        order: of the pages of ``Wikispeedia``, known ones first.
    """

    graph: HopGraph
    new: tuple[str, ...]
    hops: Int[Tensor, "n n"]
    texts: Mapping[str, str]
    order: Int[Tensor, " n"]

    @classmethod
    def drawn(cls, pages: Wikispeedia, texts: Mapping[str, str], *, seed: int) -> TextSplit:
        """Hold out a tenth of the pages."""
        n = len(pages.names)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).flip(0)
        known = n - round(_HELD * n)
        at = torch.empty(n, dtype=torch.int64)
        at[order] = torch.arange(n)
        edges, names = at[pages.edges], tuple(pages.names[i] for i in order.tolist())
        whole = HopGraph.from_edges(edges, names=names)
        graph = HopGraph.from_edges(edges[(edges < known).all(1)], names=names[:known])
        return cls(graph, names[known:], hop_counts(whole), {name: texts[name] for name in names}, order)

    @property
    def known_texts(self) -> dict[str, str]:
        """Of the known pages."""
        return {name: self.texts[name] for name in self.graph.names}

    @property
    def new_texts(self) -> list[str]:
        """Of the new pages."""
        return [self.texts[name] for name in self.new]

    def judged(self, distances: Float[Tensor, "n n"]) -> TextScores:
        """Scores of predictions for all pages, known ones first."""
        known, n = len(self.graph), len(self.hops)
        new = torch.arange(known, n)
        held = torch.ones(n, n, dtype=torch.bool)
        held[:known, :known] = False
        out = hop_scores(lambda rows: distances[rows], self.hops[new], sources=new)
        into = hop_scores(lambda rows: distances.T[rows], self.hops.T[new], sources=new)
        pairs = hop_scores(lambda rows: distances[rows], self.hops, held=held)
        return TextScores(pairs, out.neighbour_map, into.neighbour_map)
