"""Links by ranking: each link against negatives that the whole batch shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.hyperbolic.geometry import (
    Geometry,
    pairwise_distance,
    points_from_tangents,
    rowwise_distance,
)
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.link_lists import AncestorLinks, Pairs, StoredLinks
from hyperspectral_geo.hyperbolic.objective import (
    Objective,
    PreparedObjective,
    concept_gradients,
    require_counts,
    require_shares,
)
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters

__all__ = ["LinkSoftmax", "log_partition"]


@dataclass(frozen=True)
class LinkSoftmax(Objective):
    """−log of e^{−d(u,v)} over itself plus Σ e^{−d(u,n)}, n among the negatives that u does not link to.

    Nickel and Kiela's loss (2017, arXiv:1705.08039), its distance times the model's scale, in another order of work:
    a step takes whole sources with all their links, so that the distances to the negatives are computed once for the
    nine or so ancestors of a word. Hard negatives come for free: sources are drawn as runs of a depth-first walk, so
    that siblings and cousins meet, and each is a negative of the others.

    Attributes:
        sources: concepts a step.
        negatives: further concepts a step.
        run: how many neighbours of the walk are drawn together.
        by_degree: the share of the negatives that is drawn in proportion to degree^¾ rather than evenly.
        ancestors: whether the links lead from child to parent in a forest, and stand for those to all ancestors. That
            trains on the transitive closure without storing it: 47 million links for NCBI's taxonomy.
    """

    sources: int = 256
    negatives: int = 64
    run: int = 8
    by_degree: float = 0.5
    ancestors: bool = False

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        """Checks the numbers and walks the graph once."""
        require_counts(sources=self.sources, negatives=self.negatives, run=self.run)
        require_shares(by_degree=self.by_degree)
        if not isinstance(self.ancestors, bool):
            raise ValueError(f"ancestors: expected True or False, got {self.ancestors!r}")
        if len(graph.edges) == 0:
            raise ValueError("graph: expected at least one link, got none; pass edges between different nodes")
        return _Prepared(self, graph)


class _Prepared(PreparedObjective):
    def __init__(self, objective: LinkSoftmax, graph: HopGraph) -> None:
        self.objective = objective
        self.count = len(graph)
        self.links = AncestorLinks(graph) if objective.ancestors else StoredLinks(graph)
        walk = _walk(graph)
        self.walk = walk[self.links.degree[walk] > 0]
        popular = (self.links.popularity + 1).double() ** 0.75
        share = objective.by_degree
        self.cumulative = (share * popular / popular.sum() + (1 - share) / self.count).cumsum(0)
        self.column = torch.full((self.count,), -1)

    def form(self, graph: HopGraph) -> dict[str, Any]:
        """One point a concept in float64: points go out to radius 10."""
        return {"spread": 1e-3, "scale": 3.0, "dtype": torch.float64, "learning_rate": 0.1}

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        source = self._sources(generator)
        row, target = self.links.drawn(source, generator)
        drawn = torch.rand(self.objective.negatives, generator=generator, dtype=torch.float64) * self.cumulative[-1]
        drawn = torch.searchsorted(self.cumulative, drawn).clamp_max(self.count - 1)
        negative = torch.unique(torch.cat([source, drawn]))
        masked = self._masked(source, self.links.every(source, (row, target)), negative)
        tables = parameters.tables
        with torch.enable_grad():
            leaving = tables["tangents"][source].requires_grad_()
            reached = tables.get("targets", tables["tangents"])[torch.cat([target, negative])].requires_grad_()
            x, y = (points_from_tangents(z, parameters.geometry) for z in (leaving, reached))
            near, away = y[: len(target)], y[len(target) :]
            scale = float(parameters.shared["log_scale"].exp())
            partition = log_partition(x, away, parameters.geometry, scale, masked)
            distance = scale * rowwise_distance(x[row], near, parameters.geometry)
            # softplus of log(f) is log(1 + f)
            loss = torch.nn.functional.softplus(distance + partition[row]).sum() / len(source)
        loss.backward()
        self.pairs += len(source) * len(negative) + len(row)
        assert leaving.grad is not None
        assert reached.grad is not None
        gradients = concept_gradients(
            parameters, source, torch.cat([target, negative]), tangents=leaving.grad, targets=reached.grad
        )
        return float(loss.detach()) * len(source) / len(row), gradients

    def _sources(self, generator: torch.Generator) -> Tensor:
        """Runs of the walk, each beginning anywhere."""
        run = min(self.objective.run, len(self.walk))
        count = max(1, min(self.objective.sources, len(self.walk)) // run)
        start = torch.randint(len(self.walk), (count, 1), generator=generator)
        return torch.unique(self.walk[(start + torch.arange(run)).flatten() % len(self.walk)])

    def _masked(self, source: Tensor, links: Pairs, negative: Tensor) -> Pairs:
        """Entries (row, column) of the table of negatives that are links, or a concept against itself."""
        self.column[negative] = torch.arange(len(negative))
        row, column = links[0], self.column[links[1]]
        rows = torch.cat([row[column >= 0], torch.arange(len(source))])
        columns = torch.cat([column[column >= 0], self.column[source]])
        self.column[negative] = -1
        return rows, columns


def log_partition(
    x: Float[Tensor, "m c"],
    y: Float[Tensor, "n c"],
    geometry: Geometry,
    scale: float,
    masked: tuple[Int[Tensor, " k"], Int[Tensor, " k"]],
) -> Float[Tensor, " m"]:
    """log Σ_n e^{−s·d(x_m, y_n)} of each row, without the entries (rows, columns) that ``masked`` names."""
    if geometry == "hyperbolic":
        return _LorentzPartition.apply(x, y, scale, *masked)
    distance = pairwise_distance(x, y, geometry)
    hidden = torch.zeros_like(distance, dtype=torch.bool)
    hidden[masked] = True
    return torch.logsumexp((-scale * distance).masked_fill(hidden, -math.inf), 1)


class _LorentzPartition(torch.autograd.Function):
    """e^{−s·d} = (c + √(c² − 1))^{−s} with c = cosh d: neither arccosh nor exp is needed, nor a pass over them."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, scale: float, rows: Tensor, columns: Tensor) -> Tensor:
        cosh = torch.outer(x[:, 0], y[:, 0]).addmm_(x[:, 1:], y[:, 1:].T, alpha=-1)
        cosh.clamp_min_(1 + torch.finfo(x.dtype).eps)
        sinh = (cosh * cosh).sub_(1).sqrt_()
        weight = cosh.add_(sinh).reciprocal_().pow_(scale)
        weight[rows, columns] = 0
        total = weight.sum(1).clamp_min_(torch.finfo(x.dtype).tiny)
        ctx.save_for_backward(x, y, sinh, weight, total)
        ctx.scale = scale
        return total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, y, sinh, weight, total = ctx.saved_tensors
        slope = weight.div_(sinh).mul_((-ctx.scale * grad / total)[:, None])
        signs = torch.ones_like(x[0]).neg_()
        signs[0] = 1
        return (slope @ y) * signs, (slope.T @ x) * signs, None, None, None


def _walk(graph: HopGraph) -> Tensor:
    """All nodes in the order of a depth-first walk over the links read backwards, from parents to children."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import depth_first_order

    first, ends = graph.compressed(reverse=True)
    n = len(graph)
    # a node before all others leads to those that link to nothing, so that one walk meets nearly all
    roots = torch.nonzero(graph.compressed()[0].diff() == 0)[:, 0]
    pointers = torch.cat([first, first[-1:] + len(roots)])
    indices = torch.cat([ends, roots])
    adjacency = csr_matrix((torch.ones(len(indices)).numpy(), indices.numpy(), pointers.numpy()), shape=(n + 1, n + 1))
    order = torch.from_numpy(depth_first_order(adjacency, n, return_predecessors=False)).long()
    met = torch.zeros(n + 1, dtype=torch.bool)
    met[order] = True
    return torch.cat([order[1:], torch.nonzero(~met[:n])[:, 0]])
