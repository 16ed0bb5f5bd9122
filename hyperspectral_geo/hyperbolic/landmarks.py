"""Landmarks, and pairs of known hop count for graphs too large to count all pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.bfs import bfs, checked_sources
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["HopSamples", "hop_samples", "landmarks", "short_hops"]

_WALKS = 4  # walks of two links drawn for a pair that is wanted: many end where others do


class HopSamples(NamedTuple):
    """Pairs of nodes, each once, and the exact hop count of each.

    ``sources`` and ``targets`` are node numbers, (k,) int64, never the same in a pair; ``hops`` (k,) int64, at least 1.
    """

    sources: Int[Tensor, " k"]
    targets: Int[Tensor, " k"]
    hops: Int[Tensor, " k"]


def landmarks(graph: HopGraph, count: int, *, seed: int, hubs: float = 0.5) -> Int[Tensor, " m"]:
    """Nodes from which distances to all others are worth knowing: those with most links, and some at random.

    Hubs lie on many shortest walks, so that their distances say much about others'; random nodes see what is remote.

    Args:
        count: how many; a graph with fewer nodes that have links gives all of these.
        seed: of the random ones.
        hubs: the share of hubs, from 0 to 1; their links are counted in both directions, of equals the first is taken.

    Returns:
        Distinct node numbers, hubs first, each with a link.

    Raises:
        ValueError: for a negative count or a share outside 0 … 1.

    References:
        Potamias, Bonchi, Castillo and Gionis, "Fast Shortest Path Distance Estimation in Large Networks", CIKM 2009.

    Example:
        >>> star = HopGraph.from_edges([(0, i) for i in range(1, 9)], directed=False)
        >>> landmarks(star, 3, seed=0, hubs=0.3)[0]
        tensor(0)
    """
    _require_count("count", count)
    if not 0 <= hubs <= 1:
        raise ValueError(f"hubs: expected a share from 0 to 1, got {hubs!r}")
    degree = torch.bincount(graph.edges.flatten(), minlength=len(graph))
    order = torch.argsort(degree, descending=True, stable=True)[: int((degree > 0).sum())]
    most = order[: round(hubs * min(count, len(order)))]
    rest = order[len(most) :]
    drawn = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    return torch.cat([most, rest[drawn]])[:count]


def hop_samples(
    graph: HopGraph,
    count: int,
    *,
    seed: int,
    marks: Int[Tensor, " m"] | Sequence[int] | None = None,
    near: float = 0.25,
    weights: Mapping[int, float] | None = None,
) -> HopSamples:
    """Pairs with exact hop counts, near and far, for training on graphs too large to count all pairs.

    A share comes from ``short_hops``. The others have a landmark at one end: as the source or, found by going
    against the links, as the target. Of these every hop count is drawn equally often, or by weights, as long as there
    are pairs of it; what is lacking is made up from the other hop counts.

    Lengths of links are not looked at. Memory: a byte for each landmark, node and direction, and that of ``bfs``.

    Args:
        count: the largest number of pairs; fewer come out if there are fewer, or if both parts find the same ones.
        seed: fixes all that is drawn.
        marks: the landmarks; by default ``landmarks(graph, 128, seed=seed)``.
        near: the share of ``short_hops``, from 0 to 1.
        weights: hop count → weight, from 0; hop counts that are not named are left out. By default all weigh the same.

    Raises:
        ValueError: for a negative count, landmarks that are not nodes, a share outside 0 … 1, or weights that are not
            finite and from 0 for hop counts from 1.

    Example:
        >>> chain = HopGraph.from_edges([(i, i + 1) for i in range(50)])
        >>> sources, targets, hops = hop_samples(chain, 200, seed=0)
        >>> torch.equal(targets - sources, hops)
        True
    """
    _require_count("count", count)
    if not 0 <= near <= 1:
        raise ValueError(f"near: expected a share from 0 to 1, got {near!r}")
    weights = None if weights is None else _checked_weights(weights)
    nodes = landmarks(graph, 128, seed=seed) if marks is None else checked_sources(graph, marks).unique()
    close = short_hops(graph, round(near * count), seed=seed)
    generator = np.random.default_rng(seed)
    far = _from_landmarks(graph, nodes, count - len(close.hops), weights, generator)
    keys = torch.cat([s * len(graph) + t for s, t, _ in (close, far)])
    _, first = np.unique(keys.numpy(), return_index=True)
    chosen = torch.from_numpy(generator.permutation(first))
    return HopSamples(*(torch.cat(both)[chosen] for both in zip(close, far, strict=True)))


def short_hops(graph: HopGraph, count: int, *, seed: int) -> HopSamples:
    """Pairs at one and at two hops, half of each: all there are, or a sample.

    Links are drawn with equal chances; pairs at two hops by drawing walks of two links, so that of two such pairs the
    one which more nodes join is drawn more often.

    Args:
        count: the largest number of pairs; where links or pairs at two hops are too few, the others do not make up
            for them.
        seed: fixes what is drawn.

    Raises:
        ValueError: for a negative count.

    Example:
        >>> short_hops(HopGraph.from_edges([(0, 1), (1, 2), (2, 3)]), 10, seed=0).hops.tolist()
        [1, 1, 1, 2, 2]
    """
    _require_count("count", count)
    generator = np.random.default_rng(seed)
    edges, first = graph.edges.numpy(), graph.compressed()[0].numpy()
    once = edges[_some(len(edges), count - count // 2, generator)]
    # Walks are numbered by their first link, then by their second.
    fan = np.diff(first)[edges[:, 1]]
    before = np.cumsum(fan) - fan
    walks = _some(int(fan.sum()), _WALKS * (count // 2), generator)
    link = np.searchsorted(before, walks, side="right") - 1
    ends = edges[first[edges[link, 1]] + walks - before[link], 1]
    pairs = np.unique(edges[link, 0] * len(graph) + ends)
    twice = np.stack(np.divmod(pairs, max(len(graph), 1)), 1)
    direct = graph.has_links(*torch.from_numpy(twice).T).numpy()
    twice = twice[(twice[:, 0] != twice[:, 1]) & ~direct]
    twice = twice[_some(len(twice), count // 2, generator)]
    sources, targets = torch.from_numpy(np.concatenate([once, twice])).T
    return HopSamples(sources, targets, 1 + (torch.arange(len(sources)) >= len(once)).long())


def _from_landmarks(
    graph: HopGraph, nodes: Tensor, count: int, weights: dict[int, float] | None, generator: np.random.Generator
) -> HopSamples:
    """Pairs with a landmark at one end, stratified by hop count."""
    onward = bfs(graph, nodes)
    toward = bfs(graph, nodes, reverse=True) if graph.directed else onward.clone()
    toward[:, nodes] = -1  # pairs of two landmarks are among the others already
    rows = [*onward.numpy(), *toward.numpy()]
    most = max((int(row.max()) for row in rows), default=0)
    there = np.zeros((len(rows), most + 1), dtype=np.int64)  # how many pairs of each hop count a row has
    for i, row in enumerate(rows):
        there[i] = np.bincount(row[row > 0], minlength=most + 1)
    # Pairs of one hop count are numbered through all rows, and some of the numbers drawn.
    shares = _shares(there.sum(0), count, weights)
    drawn = [_some(int(total), share, generator) for total, share in zip(there.sum(0), shares, strict=True)]
    ends = np.cumsum(there, 0)
    parts = [np.zeros((3, 0), dtype=np.int64)]
    for i, (row, mark) in enumerate(zip(rows, nodes.tolist() * 2, strict=True)):
        order = np.argsort(row, kind="stable")[len(row) - there[i].sum() :]  # by hop count; a radix sort
        for hop, others in enumerate(np.split(order, np.cumsum(there[i])[:-1])):
            low, high = np.searchsorted(drawn[hop], (ends[i, hop] - there[i, hop], ends[i, hop]))
            others = others[drawn[hop][low:high] - (ends[i, hop] - there[i, hop])]
            marks, hops = np.full_like(others, mark), np.full_like(others, hop)
            parts.append(np.stack([marks, others, hops] if i < len(nodes) else [others, marks, hops]))
    return HopSamples(*torch.from_numpy(np.concatenate(parts, 1)))


def _shares(available: np.ndarray, count: int, weights: dict[int, float] | None) -> list[int]:
    """How many of each hop count: in proportion to the weights, but for what is scarce, and of that all."""
    weight = [(0.0 if h == 0 else 1.0) if weights is None else weights.get(h, 0.0) for h in range(len(available))]
    shares, left = [0] * len(available), count
    scarce_first = sorted((h for h, w in enumerate(weight) if w > 0), key=lambda h: available[h] / weight[h])
    for i, h in enumerate(scarce_first):
        total = sum(weight[other] for other in scarce_first[i:])
        shares[h] = min(int(available[h]), round(left * (weight[h] / total)))
        left -= shares[h]
    return shares


def _some(total: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Up to ``count`` different numbers below ``total``, sorted."""
    return np.arange(total) if count >= total else np.sort(generator.choice(total, count, replace=False))


def _require_count(name: str, count: object) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"{name}: expected a whole number from 0, got {count!r}")


def _checked_weights(weights: Mapping[int, float]) -> dict[int, float]:
    """Weights of hop counts; ``ValueError`` unless all are finite and from 0."""
    for hop, weight in weights.items():
        numbers = isinstance(hop, int) and isinstance(weight, (int, float))
        if not numbers or hop < 1 or not math.isfinite(weight) or weight < 0:
            raise ValueError(f"weights: expected finite weights from 0 for hop counts from 1, got {hop!r}: {weight!r}")
    return dict(weights)
