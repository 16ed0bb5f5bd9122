"""Which links a batch of sources trains on: those that a graph stores, or all ancestors, walked."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.forest import Forest
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["AncestorLinks", "LinkLists", "Pairs", "StoredLinks"]

_MOST_LINKS = 64  # of one source a step; hubs are sampled

Pairs = tuple[Tensor, Tensor]
"""Place of the source in the batch, and what it links to."""


class LinkLists(ABC):
    """Links by source.

    Attributes:
        degree: (n,) links that go out.
        popularity: (n,) links that come in.
    """

    degree: Int[Tensor, " n"]
    popularity: Int[Tensor, " n"]

    @abstractmethod
    def drawn(self, sources: Int[Tensor, " m"], generator: torch.Generator) -> Pairs:
        """Links to train on in this step."""

    @abstractmethod
    def every(self, sources: Int[Tensor, " m"], drawn: Pairs) -> Pairs:
        """All links, so that none is taken for a negative."""


class StoredLinks(LinkLists):
    """The links of a graph; of a hub, a sample."""

    def __init__(self, graph: HopGraph) -> None:
        self.first, self.ends = graph.compressed()
        self.degree = self.first.diff()
        self.popularity = torch.bincount(self.ends, minlength=len(graph))

    def drawn(self, sources: Tensor, generator: torch.Generator) -> Pairs:  # noqa: D102
        degree = self.degree[sources]
        row, place = _counted(degree.clamp_max(_MOST_LINKS))
        hub = degree[row] > _MOST_LINKS
        if bool(hub.any()):
            anywhere = (torch.rand(len(row), generator=generator, dtype=torch.float64) * degree[row]).long()
            place = torch.where(hub, anywhere.minimum(degree[row] - 1), place)
        return row, self.ends[self.first[sources][row] + place]

    def every(self, sources: Tensor, drawn: Pairs) -> Pairs:  # noqa: D102
        degree = self.degree[sources]
        if not bool((degree > _MOST_LINKS).any()):
            return drawn
        row, place = _counted(degree)
        return row, self.ends[self.first[sources][row] + place]


class AncestorLinks(LinkLists):
    """From every node of a forest to all nodes above it: the transitive closure, walked instead of stored."""

    def __init__(self, graph: HopGraph) -> None:
        self.forest = Forest.of(graph)
        self.degree = self.forest.depth
        self.popularity = self.forest.descendants()

    def drawn(self, sources: Tensor, generator: torch.Generator) -> Pairs:  # noqa: D102
        return self.forest.ancestors(sources)

    def every(self, sources: Tensor, drawn: Pairs) -> Pairs:  # noqa: D102
        return drawn


def _counted(degree: Tensor) -> tuple[Tensor, Tensor]:
    """For each row its number, and 0, 1, … up to its degree."""
    row = torch.repeat_interleave(torch.arange(len(degree)), degree)
    return row, torch.arange(len(row)) - torch.repeat_interleave(degree.cumsum(0) - degree, degree)
