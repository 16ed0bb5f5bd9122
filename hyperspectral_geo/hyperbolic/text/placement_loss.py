"""How badly new pages lie among known ones, and which way each should go: the loss that places are chosen by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.pair_leaves import PairLeaves
from hyperspectral_geo.hyperbolic.text.page_rows import PageRows

__all__ = ["LandmarkHops", "PlacementGoal", "placement_gradient"]

_NEAREST = 10.0  # h̄/h of the pairs that weigh most
_LINKS = 0.5


@dataclass(frozen=True, eq=False)
class PlacementGoal:
    """Hops to be met between m new pages and k known ones; NaN where nothing is known.

    Attributes:
        out: from new pages to known ones, (m, k).
        into: from known pages to new ones, (m, k).
        link_out, link_into: the probability that each pair is a link.
    """

    out: Float[Tensor, "m k"]
    into: Float[Tensor, "m k"]
    link_out: Float[Tensor, "m k"]
    link_into: Float[Tensor, "m k"]

    @classmethod
    def counted(cls, out: Int[Tensor, "m k"], into: Int[Tensor, "m k"]) -> PlacementGoal:
        """Hop counts, −1 where there is no walk and 0 from a page to itself.

        >>> goal = PlacementGoal.counted(torch.tensor([[0, 1, -1]]), torch.tensor([[0, 2, 1]]))
        >>> goal.out, goal.link_into
        (tensor([[nan, 1., nan]]), tensor([[0., 0., 1.]]))
        """
        hops = [found.float().masked_fill(found <= 0, torch.nan) for found in (out, into)]
        return cls(*hops, *((found == 1).float() for found in (out, into)))

    def among(self, columns: Int[Tensor, " c"]) -> PlacementGoal:
        """The same of some of the known pages."""
        return PlacementGoal(*(part[:, columns] for part in vars(self).values()))


@dataclass(frozen=True, eq=False)
class LandmarkHops:
    """Hop counts between all pages and some: what places of known pages are checked by in training.

    Attributes:
        landmarks: the some, (l,).
        out: from every page to each landmark, (n, l), −1 where there is no walk.
        into: from each landmark to every page, (n, l).
    """

    landmarks: Int[Tensor, " l"]
    out: Int[Tensor, "n l"]
    into: Int[Tensor, "n l"]

    @classmethod
    def of(cls, graph: HopGraph, *, most: int = 4096, seed: int = 0) -> LandmarkHops:
        """Count hops of ``most`` pages drawn at random, all of a smaller graph.

        >>> hops = LandmarkHops.of(HopGraph.from_edges([("a", "b"), ("b", "c")]), most=1, seed=1)
        >>> hops.landmarks, hops.out.T, hops.into.T
        (tensor([1]), tensor([[ 1,  0, -1]], dtype=torch.int8), tensor([[-1,  0,  1]], dtype=torch.int8))
        """
        some = torch.randperm(len(graph), generator=torch.Generator().manual_seed(seed))[:most]
        out, into = (hop_counts(graph, some, reverse=reverse, weighted=False).T for reverse in (True, False))
        return cls(some, out, into)

    def draw(
        self, pages: int, others: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " m"], Int[Tensor, " k"], PlacementGoal]:
        """Pages to be placed, known ones beside them, and the hops between."""
        some = torch.randperm(len(self.out), generator=generator)[:pages]
        columns = torch.randperm(len(self.landmarks), generator=generator)[:others]
        goal = PlacementGoal.counted(self.out[some][:, columns], self.into[some][:, columns])
        return some, self.landmarks[columns], goal


def placement_gradient(
    pages: PageRows, rows: Float[Tensor, "m q"], known: Int[Tensor, " k"], goal: PlacementGoal
) -> tuple[float, Float[Tensor, "m q"]]:
    """Loss of each way summed, a mean over pairs of ½(1 + (h̄/h)²)(ŷ − h)² − ½ log p, and its gradient by row.

    h̄ is the mean of the goal, ŷ the model's distance, p what the read-out's first step says of the link (see
    ``HopRegression``). The model itself is not moved.
    """
    parameters = pages.parameters(rows)
    new = torch.arange(len(rows)) + len(pages.model)
    total, gradient = 0.0, torch.zeros_like(rows)
    for hops, linked, out in ((goal.out, goal.link_out, True), (goal.into, goal.link_into, False)):
        leaves = PairLeaves(parameters, new if out else known, known if out else new, paired=False)
        with torch.enable_grad():
            predicted, first = leaves.predicted(parameters)
            loss = _loss(
                predicted if out else predicted.T, None if first is None else (first if out else first.T), hops, linked
            )
        loss.backward()
        total += float(loss.detach())
        gradient += _by_row(pages, leaves, new, out=out)
    return total, gradient


def _loss(predicted: Tensor, first: Tensor | None, hops: Tensor, linked: Tensor) -> Tensor:
    real = ~hops.isnan()
    count, h = real.sum().clamp_min(1), hops.nan_to_num(1.0)
    mean = (h * real).sum() / count
    weight = real * (1 + (mean / h).clamp_max(_NEAREST).square()) / 2
    loss = (weight * (predicted - h).square()).sum() / count
    if first is None:
        return loss
    surprise = binary_cross_entropy_with_logits(first, 1 - linked, reduction="none")
    return loss + _LINKS * (surprise * real).sum() / count


def _by_row(pages: PageRows, leaves: PairLeaves, new: Tensor, *, out: bool) -> Float[Tensor, "m q"]:
    """The gradient of the new pages' end, packed as their rows are."""
    end = leaves.leaving if out else leaves.reached
    table = "tangents" if out or "targets" not in pages.widths else "targets"
    scalar = "outgoing" if out else "incoming"
    parts = []
    for name, width in pages.widths.items():
        leaf = end if name == table else leaves.scalars.get(name) if name == scalar else None
        found = leaf.grad if leaf is not None and leaf.grad is not None else torch.zeros(len(new), width)
        parts.append(found.reshape(len(new), width))
    return torch.cat(parts, 1)
