"""How well an embedding keeps the links it was given."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.predictions import Predict, predicted_rows, require_names, rows_at_once
from hyperspectral_geo.hyperbolic.ranking import link_ranks, linked_rows

__all__ = ["Reconstruction", "reconstruction"]


@dataclass(frozen=True)
class Reconstruction:
    """``mean_rank`` (1 is best) over links, and ``mean_average_precision`` (1 is best) over nodes with links."""

    mean_rank: float
    mean_average_precision: float


def reconstruction(model: Predict, graph: HopGraph, *, block: int | None = None) -> Reconstruction:
    """Nickel and Kiela's reconstruction scores.

    For a link (u, v), the rank of v is one plus the number of nodes that u does not link to and that lie no farther
    from u than v: other neighbours do not count, ties count against the model. Average precision ranks all nodes but u.

    Args:
        model: an embedding of the nodes of ``graph``, or a function from node numbers (m,) to distances (m, n).
        graph: the links to be found again; for a transitive closure, pass the closure.
        block: sources handled at once; by default as many as 32 MB of distances hold.

    Raises:
        ValueError: if the names of model and graph differ, there is no link, or a prediction is NaN.

    References:
        M. Nickel, D. Kiela, NeurIPS 2017, arXiv 1705.08039, section 4.1.

    Example:
        >>> graph = HopGraph.from_edges([(0, 1), (0, 3)])
        >>> places = torch.arange(4.0)
        >>> reconstruction(lambda sources: (places - places[sources, None]).abs(), graph)
        Reconstruction(mean_rank=1.5, mean_average_precision=0.8333333)
    """
    require_names(model, graph)
    if len(graph.edges) == 0:
        raise ValueError("graph: expected at least one link, got none")
    nodes, links_of = torch.arange(len(graph)), linked_rows(graph)
    sources = graph.edges[:, 0].unique()
    # Filled, not gathered in lists: what is kept between large buffers would hold the heap open, gigabytes in the end.
    ranks = torch.empty(len(graph.edges), dtype=torch.float64)
    precision = torch.empty(len(sources), dtype=torch.float64)
    ranked = judged = 0
    for some in sources.split(rows_at_once(len(graph), block)):
        linked = links_of(some)
        found = link_ranks(predicted_rows(model, some, len(graph)), linked, ~linked & (some[:, None] != nodes))
        links = int(found.real.sum())
        ranks[ranked : ranked + links] = found.ranks()
        precision[judged : judged + len(some)] = found.average_precision()
        ranked, judged = ranked + links, judged + len(some)
    return Reconstruction(ranks.mean().item(), precision.mean().item())
