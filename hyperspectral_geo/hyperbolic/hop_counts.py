"""Distances along the links of a graph: hop counts, or sums of lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.bfs import WORD, bfs_blocks, checked_sources
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["MOST_NODES", "hop_counts", "hop_count_blocks"]

MOST_NODES = 20_000
"""The largest graph of which all pairs are held in memory: 400 MB of int8."""


def hop_counts(
    graph: HopGraph,
    sources: Int[Tensor, " m"] | Sequence[int] | None = None,
    *,
    reverse: bool = False,
    limit: int | float | None = None,
    weighted: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Int[Tensor, "m n"] | Float[Tensor, "m n"]:
    """Distance from each source to every node: the least sum of lengths over all walks between them.

    Where links have no lengths these are hop counts, found by ``bfs``; else SciPy's Dijkstra finds them. A pair that no
    walk joins has the hop count −1, or an infinite distance.

    Memory: the result, and the working memory of ``bfs``, or with lengths about 20 bytes a link and 1,100 a node.

    Args:
        graph: directed or not, connected or not.
        sources: node numbers; by default all nodes of a graph of at most 20,000.
        reverse: distances from every node to each source, against the links' direction.
        limit: the largest distance that is looked for, a whole number for hop counts; what is farther counts as not
            joined.
        weighted: whether lengths count, where there are some; if false, every link is one hop.
        dtype: float32 or float64 for sums of lengths, which are added up in float64.

    Returns:
        (m, n), hop counts in int8, or int16 or int32 if some are above 127 or 32,767; sums of lengths in ``dtype``.

    Raises:
        ValueError: for all pairs of a larger graph, sources that are not nodes, or a limit that is no distance.

    References:
        Dijkstra, "A note on two problems in connexion with graphs", 1959.

    Example:
        >>> links = [("rain", "wet"), ("wet", "slip"), ("rain", "slip")]
        >>> hop_counts(HopGraph.from_edges(links))
        tensor([[ 0,  1,  1],
                [-1,  0,  1],
                [-1, -1,  0]], dtype=torch.int8)
        >>> hop_counts(HopGraph.from_edges(links, lengths=[0.5, 0.5, 2.0]), [0])
        tensor([[0.0000, 0.5000, 1.0000]])
    """
    if sources is None and len(graph) > MOST_NODES:
        raise ValueError(
            f"graph: expected at most {MOST_NODES} nodes for all pairs in memory, got {len(graph)}; pass sources, such "
            "as landmarks(graph, 256, seed=0), or write the pairs to disk with HopStore.build"
        )
    nodes = torch.arange(len(graph)) if sources is None else checked_sources(graph, sources)
    blocks = hop_count_blocks(graph, nodes, reverse=reverse, limit=limit, weighted=weighted, dtype=dtype)
    found = torch.empty(len(nodes), len(graph), dtype=dtype if weighted and graph.lengths is not None else torch.int8)
    for i, block in enumerate(blocks):
        found = found.to(torch.promote_types(found.dtype, block.dtype))  # copies only if hop counts outgrow the type
        found[i * WORD : i * WORD + len(block)] = block
    return found


def hop_count_blocks(
    graph: HopGraph,
    sources: Int[Tensor, " m"] | Sequence[int],
    *,
    reverse: bool = False,
    limit: int | float | None = None,
    weighted: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Int[Tensor, "block n"] | Float[Tensor, "block n"]]:
    """The rows of ``hop_counts`` in blocks of up to 64, for results that do not fit in memory.

    Raises:
        ValueError: for sources that are not nodes, or a limit that is no distance.

    Example:
        >>> ring = HopGraph.from_edges([(i, (i + 1) % 100) for i in range(100)])
        >>> [int(block.max()) for block in hop_count_blocks(ring, range(100))]
        [99, 99]
    """
    nodes = checked_sources(graph, sources)
    limit = None if limit == math.inf else limit
    if graph.lengths is None or not weighted:
        whole = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return bfs_blocks(graph, nodes, reverse=reverse, limit=whole)  # pyright: ignore[reportArgumentType]
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype: expected torch.float32 or torch.float64 for sums of lengths, got {dtype}")
    return _dijkstra_blocks(graph, nodes.numpy(), reverse, _checked_distance(limit), dtype)


def _dijkstra_blocks(
    graph: HopGraph, nodes: np.ndarray, reverse: bool, limit: float, dtype: torch.dtype
) -> Iterator[Tensor]:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    assert graph.lengths is not None
    first, ends = graph.compressed()
    lengths = csr_array((graph.lengths.numpy(), ends.numpy(), first.numpy()), shape=(len(graph), len(graph)))
    lengths = lengths.T.tocsr() if reverse else lengths
    for start in range(0, len(nodes), WORD):
        yield torch.from_numpy(dijkstra(lengths, indices=nodes[start : start + WORD], limit=limit)).to(dtype)


def _checked_distance(limit: object) -> float:
    """The limit, infinite for None; ``ValueError`` unless it is a number from 0."""
    if limit is None:
        return math.inf
    if isinstance(limit, (int, float)) and not isinstance(limit, bool) and limit >= 0:
        return float(limit)
    raise ValueError(f"limit: expected a distance from 0, or None, got {limit!r}")
