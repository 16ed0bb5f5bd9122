"""Whether links that a model has not seen lie nearer than pairs that are no links."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.predictions import Predict, predicted_rows, require_names, rows_at_once
from hyperspectral_geo.hyperbolic.ranking import link_ranks, linked_rows
from hyperspectral_geo.hyperbolic.splits import LinkSplit

__all__ = ["LinkScores", "link_prediction"]


@dataclass(frozen=True)
class LinkScores:
    """How well links are told from non-links; 1 is best everywhere; made by ``link_prediction``.

    Attributes:
        links: how many were held out.
        auc: area under the ROC curve: the share of pairs (link, non-link) whose link is nearer, ties count half.
        average_precision: Σ (Rᵢ − Rᵢ₋₁)·Pᵢ over the distinct distances as thresholds, links against non-links.
        mean_reciprocal_rank: mean of 1/rank of a held-out link u → v among v and all nodes that u does not link to
            (the filtered rank), ties against the prediction; an undirected link is ranked from both ends.
        hits_at_1, hits_at_3, hits_at_10: share of these ranks up to 1, 3, 10.
    """

    links: int
    auc: float
    average_precision: float
    mean_reciprocal_rank: float
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float

    def as_dict(self) -> dict[str, int | float]:
        """Scores by name, as a row of a table."""
        return asdict(self)


def link_prediction(
    predict: Predict, split: LinkSplit, *, part: Literal["test", "validation"] = "test", block: int | None = None
) -> LinkScores:
    """Judge predicted distances on the links held out and as many non-links; the nearer, the likelier a link.

    Args:
        predict: a model fitted to ``split.training``, or a function from node numbers (m,) to distances (m, n).
        split: from ``link_split``.
        part: which of its parts to judge on.
        block: sources handled at once; by default as many as 32 MB of float64 hold.

    Raises:
        ValueError: if names of model and graph differ, the part has no links, or a prediction is NaN.

    References:
        Filtered ranks: Bordes et al., "Translating Embeddings for Modeling Multi-relational Data", NeurIPS 2013.

    Example:
        >>> from hyperspectral_geo.hyperbolic.splits import link_split
        >>> ring = HopGraph.from_edges([(i, (i + k) % 40) for i in range(40) for k in (1, 2)])
        >>> ahead = lambda sources: (torch.arange(40) - sources[:, None]) % 40
        >>> found = link_prediction(ahead, link_split(ring, seed=0))
        >>> found.links, found.auc, found.average_precision, found.mean_reciprocal_rank
        (8, 1.0, 1.0, 1.0)
    """
    if part not in ("test", "validation"):
        raise ValueError(f"part: expected 'test' or 'validation', got {part!r}")
    require_names(predict, split.graph)
    tested = part == "test"
    links = split.test if tested else split.validation
    if len(links) == 0:
        raise ValueError(f"split: expected held-out links, got none for {part}; raise its share in link_split")
    others = split.test_non_links if tested else split.validation_non_links
    ends = links if split.graph.directed else torch.cat([links, links.flip(1)])
    distances, ranks = _looked_up(predict, split.graph, ends, torch.cat([links, others]), block)
    auc, precision = _separation(distances[: len(links)], distances[len(links) :])
    hits = ((ranks <= k).double().mean().item() for k in (1, 3, 10))
    return LinkScores(len(links), auc, precision, ranks.double().reciprocal().mean().item(), *hits)


def _looked_up(
    predict: Predict, graph: HopGraph, links: Tensor, pairs: Tensor, block: int | None
) -> tuple[Float[Tensor, " k"], Int[Tensor, " links"]]:
    """Predicted distances of ``pairs``, and filtered ranks of ``links``, in one pass over the rows of their sources."""
    nodes, links_of = torch.arange(len(graph)), linked_rows(graph)
    found, ranks = torch.empty(len(pairs), dtype=torch.float64), []
    for some in torch.cat([links[:, 0], pairs[:, 0]]).unique().split(rows_at_once(len(graph), block)):
        rows = predicted_rows(predict, some, len(graph))
        row = torch.full((len(graph),), -1)
        row[some] = torch.arange(len(some))
        here = row[pairs[:, 0]] >= 0
        found[here] = rows[row[pairs[here, 0]], pairs[here, 1]]
        wanted = torch.zeros(rows.shape, dtype=torch.bool)
        source, target = links[row[links[:, 0]] >= 0].unbind(1)
        wanted[row[source], target] = True
        others = ~links_of(some) & (some[:, None] != nodes)
        ranks.append(link_ranks(rows, wanted, others).ranks())
    return found, torch.cat(ranks)


def _separation(links: Float[Tensor, " k"], others: Float[Tensor, " k"]) -> tuple[float, float]:
    """Area under the ROC curve, and average precision, if nearer means likelier."""
    ordered = others.sort().values
    nearer, no_farther = (torch.searchsorted(ordered, links, right=right) for right in (False, True))
    auc = 1 - (nearer + no_farther).double().mean().item() / (2 * len(others))
    thresholds, place = torch.cat([links, others]).unique(return_inverse=True)
    positive = torch.bincount(place[: len(links)], minlength=len(thresholds)).double()
    every = torch.bincount(place, minlength=len(thresholds))
    precision = positive.cumsum(0) / every.cumsum(0)
    return auc, positive.dot(precision).item() / len(links)
