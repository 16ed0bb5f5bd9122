"""Graphs, tangents and plainly written distances that the tests of hop embeddings share."""

from __future__ import annotations

import networkx
import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic import HopGraph

EPS = torch.finfo(torch.float64).eps


def tangents(n: int, d: int, *, radius: float = 3.0, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random tangents, the longest of length ``radius``."""
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (radius * z / z.norm(dim=1).max()).to(dtype)


def tree(depth: int = 4) -> HopGraph:
    """Links of the nodes of a binary tree to all their ancestors."""
    edges = []
    for node in range(1, 2**depth - 1):
        above = node
        while above:
            above = (above - 1) // 2
            edges.append((node, above))
    return HopGraph.from_edges(edges)


def random_graph(n: int, links: int, *, seed: int = 0) -> HopGraph:
    """Directed links between random nodes."""
    edges = torch.randint(n, (links, 2), generator=torch.Generator().manual_seed(seed))
    return HopGraph.from_edges(edges, names=[str(i) for i in range(n)])


SMALL = {
    "one link": HopGraph.from_edges([(0, 1)]),
    "one link both ways": HopGraph.from_edges([(0, 1)], directed=False),
    "chain": HopGraph.from_edges([(i, i + 1) for i in range(6)]),
    "star inwards": HopGraph.from_edges([(i, 0) for i in range(1, 9)]),
    "star outwards": HopGraph.from_edges([(0, i) for i in range(1, 9)]),
    "cycle": HopGraph.from_edges([(i, (i + 1) % 7) for i in range(7)]),
    "two cycles": HopGraph.from_edges(
        [(i, (i + 1) % 3) for i in range(3)] + [(3 + i, 3 + (i + 1) % 4) for i in range(4)]
    ),
    "complete": HopGraph.from_edges([(i, j) for i in range(5) for j in range(5) if i != j]),
    "isolated nodes": HopGraph.from_edges([(1, 3)], names=list("abcdefg")),
    "karate club": HopGraph.from_edges(list(networkx.karate_club_graph().edges), directed=False),
    "hub": HopGraph.from_edges([(0, i) for i in range(1, 150)] + [(i, i + 1) for i in range(1, 149)]),
    "tree": tree(),
}


def plain_points(z: Tensor, geometry: str) -> Tensor:
    """exp₀(z) by the textbook, for autograd; z must not be zero."""
    if geometry in ("euclidean", "bilinear"):
        return z
    if geometry == "product":
        half = (z.shape[1] + 1) // 2
        return torch.cat([plain_points(z[:, :half], "hyperbolic"), z[:, half:]], 1)
    radius = z.square().sum(1, keepdim=True).sqrt()
    time, space = (torch.cosh, torch.sinh) if geometry == "hyperbolic" else (torch.cos, torch.sin)
    return torch.cat([time(radius), space(radius) * z / radius], 1)


def plain_distance(z: Tensor, w: Tensor, geometry: str) -> Tensor:
    """All distances between the points of two sets of tangents by the textbook, for autograd; no tangent may be zero.

    Where points coincide the root has no slope: there the gradient is cut off by the clamps.
    """
    x, y = plain_points(z, geometry)[:, None], plain_points(w, geometry)
    if geometry == "euclidean":
        return (x - y).square().sum(-1).clamp_min(1e-24).sqrt()
    if geometry == "bilinear":
        return -(x * y).sum(-1)
    if geometry == "spherical":
        return (x * y).sum(-1).clamp(-1 + 1e-14, 1 - 1e-14).acos()
    if geometry == "product":
        half = (z.shape[1] + 1) // 2
        curved = plain_distance(z[:, :half], w[:, :half], "hyperbolic")
        return (curved.square() + (z[:, None, half:] - w[:, half:]).square().sum(-1)).clamp_min(1e-12).sqrt()
    return (x[..., 0] * y[..., 0] - (x[..., 1:] * y[..., 1:]).sum(-1)).clamp_min(1 + 1e-14).acosh()
