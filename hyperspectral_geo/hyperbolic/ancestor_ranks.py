"""Where ancestors come among millions of nodes: exact, without measuring every distance exactly."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.forest import Forest
from hyperspectral_geo.hyperbolic.geometry import Geometry, exact_distance, points_from_tangents
from hyperspectral_geo.hyperbolic.ranking import LinkRanks

__all__ = ["ancestor_precision"]


def ancestor_precision(model: HopEmbedding, forest: Forest, sources: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Average precision of the ancestors of each source when all nodes are ranked by distance from it.

    Nickel and Kiela's reconstruction on the transitive closure, restricted to some sources that are no roots. Between
    which of its ancestors a node comes is told by one product of vectors, whose error is at most 8 (c + 2) eps x₀y₀ for
    c coordinates (as in ``distance_below``); where an ancestor lies within this error, the distance is computed anew.

    Args:
        model: one point a node, hyperbolic or Euclidean, without scalars.
        forest: who is above whom, of the same nodes.
        sources: nodes that are no roots; of none, the result is empty.

    Returns:
        One number a source, float64, from 0 to 1, 1 is best; ties count against the prediction.

    Raises:
        ValueError: for another model or forest, and for roots among the sources.

    Example:
        >>> from hyperspectral_geo.hyperbolic import HopGraph
        >>> graph = HopGraph.from_edges([(1, 0), (2, 1)])
        >>> model = HopEmbedding(graph.names, torch.tensor([[0.0], [1.0], [1.5]]), geometry="euclidean")
        >>> ancestor_precision(model, Forest.of(graph), torch.tensor([1, 2])).tolist()
        [0.5, 1.0]
    """
    if model.geometry not in ("hyperbolic", "euclidean"):
        raise ValueError(f"model: expected hyperbolic or Euclidean points, got {model.geometry!r}")
    if any(part is not None for part in (model.targets, model.outgoing, model.incoming)):
        raise ValueError("model: expected one point a node, got target points or scalars; use reconstruction")
    if len(model) != len(forest):
        raise ValueError(f"forest: expected the model's {len(model):,} nodes, got {len(forest):,}")
    if not bool((forest.depth[sources] > 0).all()):
        raise ValueError("sources: expected nodes that have ancestors, got a root; leave it out")
    lifted = _lifted(points_from_tangents(model.tangents.double(), model.geometry), model.geometry)
    found = lifted.new_empty(len(sources))
    for place, source in enumerate(sources):
        found[place] = _precision(lifted, model.geometry, forest, source)
    return found


def _precision(lifted: Tensor, geometry: Geometry, forest: Forest, source: Tensor) -> Tensor:
    above = forest.ancestors(source[None])[1]
    thresholds = _scores(lifted, source, above, geometry).sort().values
    # both at once: what this takes is reading all points
    scores, error = (lifted @ torch.stack(_linear_forms(lifted[source], geometry), 1)).T.contiguous()
    if geometry == "hyperbolic":
        scores -= 1
    perhaps = scores - error <= thresholds[-1]
    perhaps[above], perhaps[source] = False, False
    near = perhaps.nonzero()[:, 0]
    first, last = (torch.searchsorted(thresholds, bound[near]) for bound in (scores - error, scores + error))
    blurred = first != last
    first[blurred] = torch.searchsorted(thresholds, _scores(lifted, source, near[blurred], geometry))
    counts = torch.bincount(first, minlength=len(above) + 1)
    before = counts.cumsum(0)[None, :-1]
    return LinkRanks(before, torch.ones_like(before, dtype=torch.bool)).average_precision()[0]


def _lifted(points: Tensor, geometry: Geometry) -> Tensor:
    """Points in which what orders them by distance from one of them, cosh d or d², is a linear form."""
    if geometry == "hyperbolic":
        return points
    return torch.cat([torch.ones(len(points), 1, dtype=points.dtype), points, points.square().sum(1, True)], 1)


def _linear_forms(x: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The form of one lifted point, and one that bounds by how much rounding may raise it."""
    form, error = -x.clone(), torch.zeros_like(x)
    error[0] = x[0]
    form[0] = x[0]
    if geometry == "euclidean":
        form[1:-1] *= 2
        form[0], form[-1] = x[-1], 1.0
        error[0], error[-1] = x[-1], 1.0
    return form, 8 * (len(x) + 2) * torch.finfo(x.dtype).eps * error


def _scores(lifted: Tensor, source: Tensor, others: Tensor, geometry: Geometry) -> Tensor:
    """cosh d − 1 or d² of some, from distances without cancellation."""
    if geometry == "hyperbolic":
        return 2 * (exact_distance(lifted[source], lifted[others], geometry) / 2).sinh().square()
    return exact_distance(lifted[source, 1:-1], lifted[others, 1:-1], geometry).square()
