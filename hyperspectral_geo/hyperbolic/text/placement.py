"""New pages among known ones: their expected hops, their probable links, and their points in the hop model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.soft_links import NewHops, SoftLinks

__all__ = ["Near", "Placement"]


class Near(NamedTuple):
    """A known page near a new one: name, expected hops, and the probability of a link."""

    name: str
    hops: float
    link: float


@dataclass(frozen=True, eq=False)
class Placement:
    """m new pages; made by ``TextHopEncoder.place``.

    There are two answers to "how far": ``hops``, what probable links say, the more exact and the better at naming
    neighbours; and ``extended()``, a hop model in which the new pages are points like any others.

    Attributes:
        model: of the n known pages.
        names: of the new pages.
        hops: expected hops between new and known pages.
        links: probable links between them.
        rows: of the new pages in the hop model, as ``PageRows`` packs them.
        foreign: whether each text seems to be in another language than the known ones.
    """

    model: HopEmbedding
    names: tuple[str, ...]
    hops: NewHops
    links: SoftLinks
    rows: Float[Tensor, "m q"]
    foreign: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, page: int = 0, *, count: int = 10, reverse: bool = False) -> list[Near]:
        """The known pages with the fewest expected hops from a new page, or to it.

        Args:
            page: number of the new page.
            count: how many to give.
            reverse: hops to the new page instead.

        Raises:
            ValueError: if there is no such page, or ``count`` is below 1.
        """
        require_counts(count=count)
        if not 0 <= page < len(self):
            raise ValueError(f"page: expected a number from 0 to {len(self) - 1}, got {page}")
        hops = self.hops.into[:, page] if reverse else self.hops.out[page]
        links = self.links.into[:, page] if reverse else self.links.out[page]
        best = hops.argsort(stable=True)[:count].tolist()
        return [Near(self.model.names[at], float(hops[at]), float(links[at])) for at in best]

    def extended(self) -> HopEmbedding:
        """The hop model with the new pages behind the known ones, each at the point that meets its hops best.

        Raises:
            ValueError: if a new page has the name of a known one.
        """
        taken = sorted(set(self.names) & set(self.model.names))
        if taken:
            raise ValueError(f"titles: expected names that the model does not have, got {taken[:3]}; rename them")
        return PageRows.of(self.model).extended(self.names, self.rows)

    def distances(self, sources: Int[Tensor, " k"]) -> Float[Tensor, "k all"]:
        """Expected hops from some pages to all, known ones first; the model's distances among known ones."""
        known, new = sources[sources < len(self.model)], sources[sources >= len(self.model)] - len(self.model)
        found = torch.empty(len(sources), len(self.model) + len(self))
        found[sources < len(self.model)] = torch.cat([self.model.distances(known).float(), self.hops.into[known]], 1)
        found[sources >= len(self.model)] = self._from_new[new]
        return found

    @cached_property
    def _from_new(self) -> Float[Tensor, "m all"]:
        return torch.cat([self.hops.out, self.hops.between], 1)
