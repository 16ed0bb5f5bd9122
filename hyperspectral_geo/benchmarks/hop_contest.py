"""Who competes in ``hsgeo bench hops``: each contestant with its numbers a node, how it is fitted, and its bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int, Real
from torch import Tensor

from hyperspectral_geo.benchmarks.hop_peers import PeerRun, gensim_poincare, geoopt_poincare
from hyperspectral_geo.benchmarks.hop_readouts import affine_readout, monotone_readout
from hyperspectral_geo.hyperbolic import Geometry, HopGraph, HopRegression, fit
from hyperspectral_geo.hyperbolic.baselines import Loss, additive, best_symmetric, constant, star
from hyperspectral_geo.hyperbolic.low_rank import additive_low_rank
from hyperspectral_geo.hyperbolic.predictions import PredictsRows

__all__ = ["DIRECTED", "ONE_POINT", "UNDIRECTED", "Contestant", "HopTask", "links_seen"]

_STEPS = 2500
_QUICK_STEPS = 40


@dataclass(frozen=True, eq=False)
class HopTask:
    """What a contestant is given.

    Attributes:
        graph: pages and links.
        hops: distances between all of them, (n, n).
        held: pairs that it must not look at, (n, n).
        seed: of the pairs held out, and of what the contestant draws.
        quick: whether a poor fit will do.
    """

    graph: HopGraph
    hops: Real[Tensor, "n n"]
    held: Bool[Tensor, "n n"]
    seed: int
    quick: bool

    def is_held(self, sources: Int[Tensor, " m"], targets: Int[Tensor, " k"]) -> Bool[Tensor, "m k"]:
        """Which pairs of some sources and some targets it must not look at."""
        return self.held[sources[:, None], targets]


Fitted = Callable[[HopTask], PredictsRows]
Readout = Callable[[PredictsRows, Tensor, Tensor], PredictsRows]


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to predict hops.

    Attributes:
        name: as it stands in the table.
        numbers: that it keeps for a node; None for an oracle, which keeps the distances.
        fitted: the model of a task.
        bars: for fields of ``HopScores``, to be reached by one model.
        seeds: how many tasks it is fitted to; what is slow and has no bar is content with one.
        readouts: what brings its distances to hops, by name, each judged; None where they are hops.
    """

    name: str
    numbers: int | None
    fitted: Fitted
    bars: Mapping[str, float] | None = None
    seeds: int = 5
    readouts: Mapping[str, Readout] | None = None


def _plain(baseline: Callable[..., PredictsRows]) -> Fitted:
    """A baseline in closed form."""
    return lambda task: baseline(task.hops, held=task.held)


def _symmetric(loss: Loss) -> Fitted:
    return lambda task: best_symmetric(task.hops, loss=loss)


def _low_rank(rank: int, loss: Loss = "squared") -> Fitted:
    def fitted(task: HopTask) -> PredictsRows:
        sweeps = 2 if task.quick else 50
        return additive_low_rank(task.hops, rank, held=task.held, loss=loss, sweeps=sweeps, seed=task.seed)

    return fitted


def _trained(geometry: Geometry, *, relative: float = 0.0, links: float = 2.0, **options: Any) -> Fitted:
    """A model by hop regression with this loss; ``options`` are those of ``fit``."""

    def fitted(task: HopTask) -> PredictsRows:
        objective = HopRegression(task.hops, relative=relative, links=links, held=task.is_held)
        chosen = {"dim": 10, "steps": _STEPS, **options}
        chosen |= {"steps": _QUICK_STEPS} if task.quick else {}
        return fit(task.graph, geometry=geometry, objective=objective, seed=task.seed, **chosen)

    return fitted


def _of_links(peer: Callable[..., PeerRun], *, epochs: int, **recipe: Any) -> Fitted:
    """A peer that is trained on links, and knows nothing of hops."""

    def fitted(task: HopTask) -> PredictsRows:
        return peer(links_seen(task), epochs=1 if task.quick else epochs, seed=task.seed, **recipe).model

    return fitted


def links_seen(task: HopTask) -> HopGraph:
    """The links not held out. A page of which all are keeps them, since gensim needs a link of every page."""
    source, target = task.graph.edges.unbind(1)
    seen = ~task.held[source, target]
    lonely = torch.ones(len(task.graph), dtype=torch.bool)
    lonely[source[seen]] = False
    kept = task.graph.edges[seen | lonely[source]]
    return HopGraph.from_edges(kept, names=task.graph.names, directed=task.graph.directed)


# Of geoopt's recipe six epochs are all burn-in, at a tenth of the rate: given ten times the rate they are at its own.
_READOUTS: dict[str, Readout] = {"affine": affine_readout, "monotone": monotone_readout}

DIRECTED = (
    Contestant("constant", 0, _plain(constant)),
    Contestant("star", 1, _plain(star)),
    Contestant("additive", 2, _plain(additive)),
    Contestant("best symmetric matrix for R² (oracle)", None, _symmetric("squared")),
    Contestant("best symmetric matrix for distortion (oracle)", None, _symmetric("relative")),
    Contestant("additive + bilinear by squared error, rank 10", 22, _low_rank(10, "squared")),
    Contestant("additive + bilinear by relative error, rank 10", 22, _low_rank(10, "relative"), seeds=1),
    # As many numbers as ours has if its forms are shared out among the pages.
    Contestant("additive + bilinear by squared error, rank 15", 32, _low_rank(15, "squared"), seeds=1),
    Contestant("Euclidean + bias, one point, d = 20", 22, _trained("euclidean", dim=20, two_points=False), seeds=1),
    Contestant("Euclidean + bias, two points, d = 10", 22, _trained("euclidean"), seeds=1),
    Contestant("hyperbolic + bias, two points, d = 10", 22, _trained("hyperbolic"), seeds=1),
    Contestant("spherical + bias, two points, d = 10", 22, _trained("spherical"), seeds=1),
    Contestant("product + bias, two points, d = 10", 22, _trained("product"), seeds=1),
    Contestant("bilinear + bias, two points, d = 10", 22, _trained("bilinear"), seeds=1),
    Contestant(
        "ours: bilinear with forms, two points, d = 10",
        22,
        _trained("bilinear", forms=True, links=2.2, steps=4000),
        bars={"r2": 0.80, "average_distortion": 0.098, "neighbour_map": 0.36},
    ),
    Contestant(
        "gensim on links, d = 22, 1 + 3 epochs",
        22,
        _of_links(gensim_poincare, epochs=3, burn_in=1, dim=22),
        seeds=1,
        readouts=_READOUTS,
    ),
    Contestant(
        "geoopt on links, d = 22, 6 epochs",
        22,
        _of_links(geoopt_poincare, epochs=6, dim=22, rate=10.0),
        seeds=1,
        readouts=_READOUTS,
    ),
)
"""At most 22 numbers a page."""

ONE_POINT = (
    Contestant("additive + bilinear by squared error, rank 5", 12, _low_rank(5, "squared"), seeds=1),
    Contestant("bilinear + bias, two points, d = 5", 12, _trained("bilinear", dim=5, links=3.0), seeds=1),
    Contestant("Euclidean + bias, one point, d = 10", 12, _trained("euclidean", two_points=False, links=3.0), seeds=1),
    Contestant(
        "hyperbolic + bias, one point, d = 10", 12, _trained("hyperbolic", two_points=False, links=3.0), seeds=1
    ),
    Contestant(
        "ours: hyperbolic with forms, one point, d = 10",
        12,
        _trained("hyperbolic", two_points=False, forms=True, links=6.0),
        bars={"r2": 0.75, "neighbour_map": 0.30},
    ),
    Contestant(
        "ours: bilinear with forms, one point, d = 10",
        12,
        _trained("bilinear", two_points=False, forms=True, links=6.0),
        seeds=1,
    ),
)
"""12 numbers a page."""

UNDIRECTED = (
    Contestant("constant", 0, _plain(constant)),
    Contestant("star", 1, _plain(star)),
    Contestant("additive + bilinear by relative error, rank 5", 12, _low_rank(5, "relative"), seeds=1),
    Contestant("Euclidean + bias, d = 10", 12, _trained("euclidean", relative=0.7, links=6.0, readout=4), seeds=1),
    Contestant(
        "ours: hyperbolic + bias, d = 10",
        12,
        _trained("hyperbolic", relative=0.7, links=6.0, readout=4),
        bars={"average_distortion": 0.115, "neighbour_map": 0.40},
    ),
)
"""Every link taken in both directions; one point a page."""
