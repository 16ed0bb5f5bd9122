"""How well an embedding keeps the links it was given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["Reconstruction", "reconstruction"]


@dataclass(frozen=True)
class Reconstruction:
    """``mean_rank`` (1 is best) over links, and ``mean_average_precision`` (1 is best) over nodes with links."""

    mean_rank: float
    mean_average_precision: float


def reconstruction(model: HopEmbedding, graph: HopGraph, *, block: int = 1024) -> Reconstruction:
    """Nickel and Kiela's reconstruction scores.

    For a link (u, v), the rank of v is one plus the number of nodes that u does not link to and that lie no farther
    from u than v: other neighbours do not count, ties count against the model. Average precision ranks all nodes but u.

    Args:
        model: an embedding of the nodes of ``graph``.
        graph: the links to be found again; for a transitive closure, pass the closure.
        block: sources handled at once.

    Raises:
        ValueError: if the names of model and graph differ, or there is no link.

    References:
        M. Nickel, D. Kiela, NeurIPS 2017, arXiv 1705.08039, section 4.1.
    """
    if model.names != graph.names:
        raise ValueError("model: expected an embedding of the graph's nodes, got other names; fit it on this graph")
    if len(graph.edges) == 0:
        raise ValueError("graph: expected at least one link, got none")
    sources, degree = torch.unique_consecutive(graph.edges[:, 0], return_counts=True)
    nodes = torch.arange(len(graph))
    ranks, precision = [], []
    for some, degrees in zip(sources.split(block), degree.split(block), strict=True):
        distance = model.distances(some)
        distance[torch.arange(len(some)), some] = math.inf
        linked = graph.has_links(some[:, None], nodes)
        others = distance.masked_fill(linked, math.inf).sort(1).values
        near = distance.masked_fill(~linked, math.inf).sort(1).values[:, : int(degrees.max())].contiguous()
        position = torch.arange(1, near.shape[1] + 1)
        real = position <= degrees[:, None]
        before = torch.searchsorted(others, near, right=True)
        ranks.append((before + 1)[real])
        precision.append(((position.double() / (before + position)) * real).sum(1) / degrees)
    return Reconstruction(torch.cat(ranks).double().mean().item(), torch.cat(precision).mean().item())
