"""How tree-like a graph is: Gromov's four-point condition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import MOST_NODES, hop_counts
from hyperspectral_geo.hyperbolic.hop_table import HopTable, walk_lengths

__all__ = ["Hyperbolicity", "NoQuadruplesError", "Symmetrise", "gromov_delta"]

Symmetrise = Literal["min", "mean", "max"]

_EXACT = 60  # nodes up to which all 487,635 quadruples are looked at
_AT_ONCE = 1 << 18  # quadruples


class NoQuadruplesError(ValueError):
    """Of no four nodes that were drawn all distances are finite."""


@dataclass(frozen=True)
class Hyperbolicity:
    """Gromov's δ over quadruples of nodes; 0 for trees; made by ``gromov_delta``.

    Attributes:
        mean: of δ over the quadruples looked at, an estimate of that over all.
        low, high: confidence interval for the mean over all quadruples; both equal it if ``exact``.
        largest: the largest δ found; the graph's own is at least that, and equal to it if ``exact``.
        mean_distance: over all pairs of different nodes that a walk joins; NaN if there is none.
        relative: 2·mean / mean_distance; 0 is a tree; 0 too if there is no pair.
        quadruples: how many were looked at.
        unreachable: how many drawn ones were left out because two of the four have no walk between them.
        exact: whether all quadruples were looked at.
    """

    mean: float
    low: float
    high: float
    largest: float
    mean_distance: float
    relative: float
    quadruples: int
    unreachable: int
    exact: bool

    def as_dict(self) -> dict[str, int | float]:
        """Figures by name, as a row of a table."""
        return asdict(self)


def gromov_delta(
    distances: HopGraph | Real[Tensor, "n n"],
    *,
    seed: int,
    samples: int = 100_000,
    confidence: int | float = 0.95,
    symmetrise: Symmetrise | None = None,
) -> Hyperbolicity:
    """Gromov's hyperbolicity by the four-point condition.

    Of four nodes let S₁ ≥ S₂ ≥ S₃ be the sums of distances of the three ways to pair them up: d(w,x) + d(y,z) and so
    on. Their δ is (S₁ − S₂)/2. All quadruples are looked at up to 60 nodes; of larger graphs ``samples`` are drawn.

    The interval is an empirical Bernstein bound: as δ lies between 0 and half the diameter D, with probability
    ``confidence`` the mean is off by at most √(2·V·L/k) + 7·D·L/(6·(k − 1)), where L = ln(4/(1 − confidence)) and V is
    the variance of the k sampled δ. It holds at any k, also where no quadruple drawn has δ > 0.

    Args:
        distances: a graph of at most 20,000 nodes, or (n, n) distances with −1 or infinity where there is no walk. Of
            a larger graph take nodes at random, ``hop_counts(graph, nodes)[:, nodes]``; the interval is then for these.
        seed: of the quadruples drawn.
        samples: quadruples drawn; four different nodes each.
        confidence: of the interval, above 0 and below 1.
        symmetrise: d(u, v) of a directed table is the least, the mean or the largest of the two directions; without
            it a table that is not symmetric is refused. To ignore the direction of links make the graph with
            ``directed=False``.

    Raises:
        ValueError: for a table that is not symmetric or holds no distances, for samples or confidence out of range,
            and, as ``NoQuadruplesError``, if of no quadruple drawn all distances are finite.

    References:
        Gromov, "Hyperbolic Groups", 1987. Fournier, Ismail and Vigneron, "Computing the Gromov hyperbolicity of a
        discrete metric space", 2015, arXiv:1210.3323. The bound: Maurer and Pontil, "Empirical Bernstein Bounds and
        Sample Variance Penalization", COLT 2009, arXiv:0907.3740.

    Example:
        >>> ring = HopGraph.from_edges([(i, (i + 1) % 8) for i in range(8)], directed=False)
        >>> found = gromov_delta(ring, seed=0)
        >>> found.largest, found.quadruples, found.exact
        (2.0, 70, True)
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise ValueError(f"samples: expected a whole number from 2, got {samples!r}")
    if not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence!r}")
    if symmetrise not in (None, "min", "mean", "max"):
        raise ValueError(f"symmetrise: expected None, 'min', 'mean' or 'max', got {symmetrise!r}")
    if isinstance(distances, HopGraph) and len(distances) > MOST_NODES:
        raise ValueError(
            f"distances: expected a graph of at most {MOST_NODES} nodes, got {len(distances)}; draw some of them, "
            "nodes = torch.randperm(len(graph))[:5000], and pass hop_counts(graph, nodes)[:, nodes]"
        )
    table = hop_counts(distances) if isinstance(distances, HopGraph) else distances
    mean_distance, diameter = _checked(table, symmetrise)
    exact = len(table) <= _EXACT
    chosen = _every(len(table)) if exact else _drawn(len(table), samples, seed)
    found = torch.cat([_deltas(table, some, symmetrise) for some in chosen])
    finite = found[found.isfinite()]
    unreachable = len(found) - len(finite)
    if len(finite) == 0 and unreachable:
        raise NoQuadruplesError(
            f"distances: expected quadruples joined by walks, got none among {unreachable}; "
            "pass the largest connected part"
        )
    mean = finite.mean().item() if len(finite) else 0.0
    half = 0.0 if exact else _half_width(finite, diameter / 2, confidence)
    return Hyperbolicity(
        mean=mean,
        low=max(0.0, mean - half),
        high=min(diameter / 2, mean + half),
        largest=finite.max().item() if len(finite) else 0.0,
        mean_distance=mean_distance,
        relative=2 * mean / mean_distance if mean_distance > 0 else 0.0,
        quadruples=len(finite),
        unreachable=unreachable,
        exact=exact,
    )


def _checked(table: Tensor, symmetrise: Symmetrise | None) -> tuple[float, float]:
    """Mean and largest distance; ``ValueError`` unless the table holds distances and may be taken as symmetric."""
    total, pairs, largest = 0.0, 0, 0.0
    for rows in HopTable.over(table).blocks():
        there, back = rows.hops, walk_lengths(table[:, rows.sources].T)
        if symmetrise is None and not torch.allclose(there, back, rtol=1e-6, atol=0):
            row, target = (~torch.isclose(there, back, rtol=1e-6, atol=0)).nonzero()[0].tolist()
            raise ValueError(
                f"distances: expected a symmetric table, got {there[row, target]:g} from node {int(rows.sources[row])} "
                f"to node {target} and {back[row, target]:g} back; pass symmetrise='min', 'mean' or 'max'"
            )
        both = _symmetric(there, back, symmetrise)
        joined = both[both.isfinite() & (both > 0)]
        total, pairs = total + joined.sum().item(), pairs + len(joined)
        largest = max(largest, joined.max().item() if len(joined) else 0.0)
    return total / pairs if pairs else math.nan, largest


def _symmetric(there: Tensor, back: Tensor, how: Symmetrise | None) -> Tensor:
    if how is None:
        return there
    if how == "mean":
        return (there + back) / 2
    return torch.minimum(there, back) if how == "min" else torch.maximum(there, back)


def _every(nodes: int) -> Iterator[Int[Tensor, "k 4"]]:
    """All quadruples of different nodes."""
    yield from torch.combinations(torch.arange(nodes), 4).split(_AT_ONCE)


def _drawn(nodes: int, samples: int, seed: int) -> Iterator[Int[Tensor, "k 4"]]:
    """Independent quadruples of different nodes, each as likely as any other."""
    generator = torch.Generator().manual_seed(seed)
    while samples > 0:
        drawn = torch.randint(nodes, (min(samples + 64, _AT_ONCE), 4), generator=generator)
        ordered = drawn.sort(1).values
        different = drawn[(ordered[:, 1:] > ordered[:, :-1]).all(1)][:samples]
        samples -= len(different)
        yield different


def _deltas(table: Tensor, quadruples: Int[Tensor, "k 4"], symmetrise: Symmetrise | None) -> Float[Tensor, " k"]:
    """δ of each quadruple; infinite or NaN where two of the four have no walk between them."""
    w, x, y, z = quadruples.unbind(1)

    def apart(a: Tensor, b: Tensor) -> Tensor:
        there = walk_lengths(table[a, b])
        return there if symmetrise is None else _symmetric(there, walk_lengths(table[b, a]), symmetrise)

    one, two, three = apart(w, x) + apart(y, z), apart(w, y) + apart(x, z), apart(w, z) + apart(x, y)
    larger, smaller = torch.maximum(one, two), torch.minimum(one, two)
    first, second = torch.maximum(larger, three), torch.maximum(smaller, torch.minimum(larger, three))
    return (first - second) / 2


def _half_width(deltas: Tensor, most: float, confidence: float) -> float:
    """Empirical Bernstein bound on how far the mean of independent numbers between 0 and ``most`` is off."""
    if len(deltas) < 2:
        return math.inf
    margin = math.log(4 / (1 - confidence))
    variance = deltas.var().item()
    return math.sqrt(2 * variance * margin / len(deltas)) + 7 * most * margin / (3 * (len(deltas) - 1))
