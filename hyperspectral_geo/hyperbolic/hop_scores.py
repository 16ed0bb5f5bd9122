"""How well predicted distances agree with hop counts or sums of lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_table import Held, HopRows, Hops, HopTable
from hyperspectral_geo.hyperbolic.predictions import Predict, predicted_rows, require_names
from hyperspectral_geo.hyperbolic.ranking import link_ranks, linked_rows
from hyperspectral_geo.hyperbolic.splits import APART, held_out_pairs

__all__ = ["HopScores", "hop_scores", "rank_correlation"]

_RANKED = 1 << 22  # pairs sorted at once for the rank correlation: its standard error is then below 0.0005


@dataclass(frozen=True)
class HopScores:
    """Agreement of predictions d̂ with distances h over the pairs judged; made by ``hop_scores``.

    Attributes:
        pairs: how many were judged.
        unreachable: how many were left out because no walk joins them.
        average_distortion: mean of |d̂/h − 1|; 0 is best.
        worst_distortion: max(d̂/h) / min(d̂/h), which no factor on d̂ changes; 1 is best, infinite if some d̂ ≤ 0.
        stress: Σ(d̂ − h)² / Σh², the normalised raw stress, whose root is Kruskal's stress with h for reference; 0 is
            best.
        r2: 1 − Σ(d̂ − h)² / Σ(h − h̄)², the coefficient of determination; 1 is best, a constant has at most 0. NaN if
            all h are equal.
        spearman: Spearman's rank correlation, equal values sharing their mean rank; NaN if all h or all d̂ are equal.
        ranked: pairs it was computed from: all, or a sample of about four million.
        neighbour_map: mean average precision of a node's neighbours among all other nodes, nearest predicted first,
            over nodes with neighbours; ties count against the prediction; pairs held out or not. 1 is best, NaN
            without neighbours.
        held_neighbour_map: the same with only the held-out pairs of a node ranked, over nodes with neighbours there.
    """

    pairs: int
    unreachable: int
    average_distortion: float
    worst_distortion: float
    stress: float
    r2: float
    spearman: float
    ranked: int
    neighbour_map: float
    held_neighbour_map: float

    def as_dict(self) -> dict[str, int | float]:
        """Scores by name, as a row of a table."""
        return asdict(self)


def hop_scores(
    predict: Predict,
    hops: Hops,
    *,
    sources: Int[Tensor, " m"] | None = None,
    held: Held | None = None,
    graph: HopGraph | None = None,
    block: int | None = None,
    seed: int = 0,
) -> HopScores:
    """Judge predicted distances on all ordered pairs of different nodes, or on those held out.

    Pairs without a walk are left out everywhere, but for the neighbours' ranks, where being far is right.

    Memory: a few times ``block``·n float64, and 16 bytes for each of up to four million pairs.

    Args:
        predict: a model or baseline with ``distances(sources)``, or a function from (m,) to (m, n).
        hops: (n, n) true distances, (m, n) with ``sources``, or a ``HopStore`` of distances from its sources;
            −1 or infinity where there is no walk.
        sources: the node of each row of ``hops``.
        held: judge on these pairs only: a ``HeldOut``, a boolean (m, n), or a function from sources and targets to one.
        graph: whose links are the neighbours; by default nodes at distance 1 are.
        block: rows handled at once; by default as many as 32 MB of float64 hold.
        seed: of the sample for ``spearman``, where pairs are too many to be sorted.

    Raises:
        ValueError: for shapes that do not fit, distances that are none, predictions that are NaN, or infinite on a
            pair judged, and if there is no pair to judge.

    References:
        Average distortion: Gu, Sala, Gunel and Ré, "Learning Mixed-Curvature Representations in Product Spaces", ICLR
        2019; worst-case distortion and neighbours' precision: Sala, De Sa, Gu and Ré, "Representation Tradeoffs for
        Hyperbolic Embeddings", ICML 2018, arXiv:1804.03329. Stress: Kruskal, Psychometrika 29, 1964.

    Example:
        >>> hops = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
        >>> found = hop_scores(lambda sources: 1.5 * hops[sources], hops)
        >>> found.average_distortion, found.worst_distortion, found.stress, found.spearman, found.neighbour_map
        (0.5, 1.0, 0.25, 1.0, 1.0)
    """
    table = HopTable.over(hops, sources=sources, held=held)
    if graph is not None:
        require_names(predict, graph)
        if len(graph) != table.nodes:
            raise ValueError(f"graph: expected {table.nodes} nodes like hops, got {len(graph)}")
    pairs, unreachable, mean = _counted(table, block)
    sample = held_out_pairs(table.nodes, _RANKED / pairs, seed=seed + APART) if pairs > _RANKED else None
    links_of = None if graph is None else linked_rows(graph)
    sums, ranked, precisions, held_precisions = [], [], [], []
    for rows in table.blocks(block):
        predicted = predicted_rows(predict, rows.sources, table.nodes)
        everything, among_held = _neighbour_precision(predicted, rows, links_of, held is not None)
        precisions.append(everything)
        held_precisions.append(among_held)
        judged = rows.held & rows.hops.isfinite()
        both = torch.stack([predicted[judged], rows.hops[judged]])
        _require_finite(both, judged, rows.sources)
        if both.numel():
            sums.append(_sums(both[0], both[1], mean))
        chosen = slice(None) if sample is None else sample.mask(rows.sources)[judged]
        ranked.append(both[:, chosen])
    *totals, highest, lowest = torch.stack(sums).unbind(1)
    relative, squared, variance, size = (total.sum().item() for total in totals)
    highest, lowest = highest.max().item(), lowest.min().item()
    compared = torch.cat(ranked, 1)
    return HopScores(
        pairs=pairs,
        unreachable=unreachable,
        average_distortion=relative / pairs,
        worst_distortion=highest / lowest if lowest > 0 else math.inf,
        stress=squared / size,
        r2=1 - squared / variance if variance > 0 else math.nan,
        spearman=rank_correlation(*compared),
        ranked=compared.shape[1],
        neighbour_map=torch.cat(precisions).nanmean().item(),
        held_neighbour_map=torch.cat(held_precisions).nanmean().item(),
    )


def rank_correlation(x: Float[Tensor, " k"], y: Float[Tensor, " k"]) -> float:
    """Spearman's rank correlation; equal values share their mean rank; NaN if all are equal.

    Example:
        >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 8.0, 27.0]))
        1.0
    """
    centred = []
    for values in (x, y):
        _, place, count = values.unique(return_inverse=True, return_counts=True)
        middle = count.cumsum(0) - (count - 1) / 2
        centred.append(middle.double()[place] - (len(values) + 1) / 2)
    a, b = centred
    spread = (a.dot(a) * b.dot(b)).sqrt().item()
    return a.dot(b).item() / spread if spread > 0 else math.nan


def _counted(table: HopTable, block: int | None) -> tuple[int, int, float]:
    """How many pairs are judged, how many are not for want of a walk, and the mean distance of those judged."""
    pairs, unreachable, total = 0, 0, 0.0
    for rows in table.blocks(block):
        judged = rows.hops[rows.held]
        joined = judged[judged.isfinite()]
        pairs, unreachable = pairs + len(joined), unreachable + len(judged) - len(joined)
        total += joined.sum().item()
    if pairs == 0:
        some = f"{unreachable} that no walk joins" if unreachable else "none at all"
        raise ValueError(f"held: expected pairs to judge, got {some}; hold out a larger share, or pass other sources")
    return pairs, unreachable, total / pairs


def _sums(predicted: Float[Tensor, " k"], hops: Float[Tensor, " k"], mean: float) -> Float[Tensor, "6"]:
    """Σ|d̂/h − 1|, Σ(d̂ − h)², Σ(h − h̄)² and Σh² of at least one pair, and the extremes of d̂/h."""
    ratio = predicted / hops
    off, spread = (predicted - hops).square().sum(), (hops - mean).square().sum()
    return torch.stack([(ratio - 1).abs().sum(), off, spread, hops.square().sum(), ratio.max(), ratio.min()])


def _neighbour_precision(
    predicted: Tensor, rows: HopRows, links_of: Callable[[Tensor], Tensor] | None, some_held: bool
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Average precision of each row's neighbours among all nodes, and among the held-out ones."""
    nodes = torch.arange(rows.hops.shape[1])
    neighbours = rows.hops == 1 if links_of is None else links_of(rows.sources)
    others = ~neighbours & (rows.sources[:, None] != nodes)
    everything = link_ranks(predicted, neighbours, others).average_precision()
    if not some_held:
        return everything, everything
    return everything, link_ranks(predicted, neighbours & rows.held, others & rows.held).average_precision()


def _require_finite(both: Tensor, judged: Tensor, sources: Tensor) -> None:
    wrong = ~both[0].isfinite()
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        row, target = judged.nonzero()[at].tolist()
        raise ValueError(
            f"predict: expected finite predictions where a walk joins two nodes, got {both[0, at].item()} from node "
            f"{int(sources[row])} to node {target}"
        )
