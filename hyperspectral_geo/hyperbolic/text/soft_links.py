"""New pages by their probable links to and from known ones, and the hops that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.text.expected_hops import MOST_HOPS, arrivals, expected_hops, usual_reach, within
from hyperspectral_geo.hyperbolic.text.missing_links import MissingLinks

__all__ = ["NewHops", "SoftLinks"]

_FAINT = 0.002  # links less probable than this are not followed
_SAMPLE = 512  # pages by which "usual" is told


@dataclass(frozen=True, eq=False)
class NewHops:
    """Expected hops of m new pages and n known ones.

    Attributes:
        out: from each new page to each known one, (m, n).
        into: from each known page to each new one, (n, m).
        between: among the new ones, (m, m), 0 on the diagonal.
    """

    out: Float[Tensor, "m n"]
    into: Float[Tensor, "n m"]
    between: Float[Tensor, "m m"]


@dataclass(frozen=True, eq=False)
class SoftLinks:
    """Probabilities of links of m new pages with n known ones and with each other.

    Attributes:
        out: p(new → known), (m, n).
        into: p(known → new), (n, m).
        between: p(new → new), (m, m), 0 on the diagonal.
        missing: the links that a page has beside these, out and in.
    """

    out: Float[Tensor, "m n"]
    into: Float[Tensor, "n m"]
    between: Float[Tensor, "m m"]
    missing: tuple[MissingLinks, MissingLinks]

    def hops(self, graph: HopGraph, *, seed: int = 0) -> NewHops:
        """Expected hops along these links and those of the known graph.

        One search forward from every page that may be linked to, one backward from every page that may link, and a
        matrix product a hop: 200 candidates in a graph of a million links take about a second.

        Args:
            graph: links among the known pages.
            seed: of the sample of pages that "usual" is told by.

        Raises:
            ValueError: if the graph has another number of pages.

        >>> none, chain = MissingLinks(0.0, 0.0, 1.0), HopGraph.from_edges([("a", "b"), ("b", "c")])
        >>> links = SoftLinks(torch.tensor([[1.0, 0, 0]]), torch.zeros(3, 1), torch.zeros(1, 1), (none, none))
        >>> links.hops(chain).out.round()
        tensor([[1., 2., 3.]])
        """
        if len(graph) != self.out.shape[1]:
            raise ValueError(f"graph: expected the {self.out.shape[1]} known pages, got {len(graph)}")
        some = torch.randperm(len(graph), generator=torch.Generator().manual_seed(seed))[:_SAMPLE]
        sides = []
        for links, missing, reverse in ((self.out, self.missing[0], False), (self.into.T, self.missing[1], True)):
            near = (links > _FAINT).any(0).nonzero()[:, 0]
            reach = within(hop_counts(graph, near, reverse=reverse, weighted=False, limit=MOST_HOPS))
            usual = usual_reach(hop_counts(graph, some, reverse=reverse, weighted=False, limit=MOST_HOPS))
            sides.append(arrivals(links[:, near], reach, missing, usual))
        out, into = sides[0], sides[1].mT
        return NewHops(expected_hops(out), expected_hops(into), self._between(out))

    def _between(self, out: Float[Tensor, "t m n"]) -> Float[Tensor, "m m"]:
        """Over known pages that probably link to the target, or by a link of their own."""
        m = out.shape[1]
        reach = torch.cat([out.new_zeros(1, m, len(self.into)), out[:-1]])  # t = 0: a new page is no known one
        # From the target's side: its links are the last step, what reaches them the steps before.
        usual = reach.mean(2)
        found = arrivals(self.into.T, reach.mT, self.missing[1], usual)
        direct = self.between.T.expand(len(found), -1, -1)
        hops = expected_hops(1 - (1 - found) * (1 - direct)).T
        return hops.masked_fill(torch.eye(m, dtype=torch.bool), 0.0).contiguous()
