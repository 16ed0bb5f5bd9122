"""Training: links scored against shared negatives by one matrix product a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import Geometry, HopEmbedding, pairwise_distance, points_from_tangents
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["fit"]


def fit(
    graph: HopGraph,
    *,
    dim: int = 10,
    geometry: Geometry = "hyperbolic",
    scale: float = 3.0,
    steps: int = 3000,
    batch: int = 256,
    negatives: int = 64,
    learning_rate: float = 0.07,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> HopEmbedding:
    """Embed a graph so that links are nearer than non-links.

    Minimises, over links (u, v) and negatives N shared by the batch, −log of e^{−s·d(u,v)} over itself plus the sum of
    e^{−s·d(u,n)} for n in N that u does not link to (Nickel and Kiela's loss, d times a scale s). Parameters are
    tangents at the origin, so plain Adam applies; float64 throughout.

    Args:
        graph: what to embed, at least one link.
        dim: dimension of the space.
        geometry: ``"hyperbolic"`` or ``"euclidean"``.
        scale: s, how sharply distances are told apart: with s, radii shrink and gradients grow.
        steps: batches of links.
        batch: links a step, drawn without replacement until all have been seen.
        negatives: nodes drawn a step, uniformly.
        learning_rate: Adam's first step length, falling to zero along a cosine.
        seed: of start, batches and negatives; the result is the same for the same seed on one machine.
        progress: called with (step, loss) every tenth step.

    Raises:
        ValueError: for an empty graph or arguments out of range.
        FloatingPointError: if the loss or its gradient stops being finite.

    References:
        M. Nickel, D. Kiela, *Poincaré embeddings for learning hierarchical representations*, NeurIPS 2017, arXiv
        1705.08039; *Learning continuous hierarchies in the Lorentz model*, ICML 2018, arXiv 1806.03417.

    Example:
        >>> graph = HopGraph.from_edges([("dog", "mammal"), ("cat", "mammal"), ("oak", "plant")])
        >>> model = fit(graph, dim=2, steps=100)
        >>> model.distance("dog", "mammal") < model.distance("dog", "plant")
        True
    """
    _require_arguments(graph, dim, geometry, scale, steps, batch, negatives, learning_rate, seed)
    generator = torch.Generator().manual_seed(seed)
    tangents = torch.randn(len(graph), dim, generator=generator, dtype=torch.float64).mul_(1e-3).requires_grad_()
    adam = torch.optim.Adam([tangents], lr=learning_rate, betas=(0.9, 0.99))
    links = _batches(graph.edges, batch, generator)
    for step in range(steps):
        adam.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = _link_loss(graph, tangents, next(links), negatives, geometry, scale, generator)
        adam.zero_grad()
        loss.backward()
        assert tangents.grad is not None
        if not bool(torch.isfinite(loss.detach() + tangents.grad.sum())):
            raise FloatingPointError(
                f"the loss or its gradient stopped being finite at step {step}, where the loss was {loss.item():g}; "
                "lower learning_rate or scale"
            )
        adam.step()
        if progress is not None and step % 10 == 9:
            progress(step + 1, loss.item())
    return HopEmbedding(graph.names, tangents.detach(), geometry, scale)


def _batches(edges: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from edges[torch.randperm(len(edges), generator=generator)].split(size)


def _link_loss(
    graph: HopGraph,
    tangents: Tensor,
    links: Tensor,
    negatives: int,
    geometry: Geometry,
    scale: float,
    generator: torch.Generator,
) -> Tensor:
    source, target = links.unbind(1)
    others = torch.randint(len(graph), (negatives,), generator=generator)
    count = len(links)
    points = points_from_tangents(tangents[torch.cat([source, target, others])], geometry)
    sources, targets = points[:count], points[count : 2 * count]
    away = scale * pairwise_distance(sources, points[2 * count :], geometry)
    linked = graph.has_links(source[:, None], others) | (source[:, None] == others)
    near = scale * _rowwise(sources, targets, geometry)
    return (near + torch.logsumexp(torch.cat([-near[:, None], -away.masked_fill(linked, math.inf)], 1), 1)).mean()


def _rowwise(x: Tensor, y: Tensor, geometry: Geometry) -> Tensor:
    """Distances of corresponding rows, as the diagonal of ``pairwise_distance`` would give them."""
    if geometry == "euclidean":
        return torch.linalg.vector_norm(x - y, dim=-1)
    product = x[:, 0] * y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(-1)
    return torch.acosh(product.clamp_min(1 + torch.finfo(x.dtype).eps))


def _require_arguments(graph, dim, geometry, scale, steps, batch, negatives, learning_rate, seed) -> None:
    if len(graph.edges) == 0:
        raise ValueError("graph: expected at least one link, got none; pass edges between different nodes")
    if geometry not in ("hyperbolic", "euclidean"):
        raise ValueError(f"geometry: expected 'hyperbolic' or 'euclidean', got {geometry!r}")
    for name, value in (("dim", dim), ("steps", steps), ("batch", batch), ("negatives", negatives)):
        if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            raise ValueError(f"{name}: expected a whole number >= 1, got {value!r}")
    for name, value in (("scale", scale), ("learning_rate", learning_rate)):
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: expected a finite number > 0, got {value!r}")
    if not (isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63):
        raise ValueError(f"seed: expected a whole number from 0 to 2^63 - 1, got {seed!r}")
