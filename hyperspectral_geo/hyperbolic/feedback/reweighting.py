"""People's lengths of links, put into a graph before hops are counted."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint, Link
from hyperspectral_geo.hyperbolic.feedback.constraint_file import require_known
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["reweighted"]


def reweighted(graph: HopGraph, constraints: Iterable[Constraint]) -> HopGraph:
    """The graph with every ``Link`` among the statements as it is there; what else is said is passed over.

    A link of length None is taken out, one that is missing is added, and where several speak of one link the last one
    holds. A graph of hops stays one as long as all lengths are 1; else its other links get the length 1.

    Args:
        graph: not changed. In an undirected one a link and its reverse are the same.
        constraints: with links between the graph's nodes.

    Raises:
        ValueError: for names that are not the graph's, with similar ones, and if no link is left.

    >>> graph = HopGraph.from_edges([("Beer", "Hops"), ("Hops", "Yeast")])
    >>> changed = reweighted(graph, [Link("Beer", "Hops", None), Link("Beer", "Yeast", 0.5)])
    >>> changed.edges.tolist(), changed.lengths
    ([[0, 2], [1, 2]], tensor([0.5000, 1.0000], dtype=torch.float64))
    """
    wanted = [one for one in constraints if isinstance(one, Link)]
    if not wanted:
        return graph
    require_known(wanted, graph.names)
    number = {name: i for i, name in enumerate(graph.names)}
    lengths = torch.ones(len(graph.edges)).tolist() if graph.lengths is None else graph.lengths.tolist()
    links: dict[tuple[int, int], float | None] = {
        (a, b): x for (a, b), x in zip(graph.edges.tolist(), lengths, strict=True)
    }
    for one in wanted:
        a, b = number[one.source], number[one.target]
        links[a, b] = one.length
        if not graph.directed:
            links[b, a] = one.length
    kept = {pair: length for pair, length in links.items() if length is not None}
    if not kept:
        raise ValueError("constraints: expected at least one link that stays, got none; leave one of them")
    plain = graph.lengths is None and all(length == 1 for length in kept.values())
    # An undirected graph holds both directions already; from_edges doubles them, and drops the repeats.
    return HopGraph.from_edges(
        torch.tensor(list(kept)),
        names=graph.names,
        directed=graph.directed,
        lengths=None if plain else [float(length) for length in kept.values()],
    )
