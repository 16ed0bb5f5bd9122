"""Where the true tails and heads come among all entities: the metrics of link prediction in knowledge graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph
from hyperspectral_geo.hyperbolic.relational.model import RelationalEmbedding
from hyperspectral_geo.hyperbolic.relational.tail_lists import TailLists, both_ways

__all__ = ["TripleScores", "rank_triples", "triple_ranks"]

_ENTRIES = 1 << 22  # of a table of scores in float64


@dataclass(frozen=True)
class TripleScores:
    """Link prediction, tails and heads together.

    Attributes:
        mrr: mean of 1/rank.
        hits: share of ranks up to 1, 3 and 10, by this number.
        mean_rank: of all ranks.
        count: how many ranks: two a triple.
    """

    mrr: float
    hits: dict[int, float]
    mean_rank: float
    count: int

    @classmethod
    def of(cls, ranks: Float[Tensor, " k"], at: Sequence[int] = (1, 3, 10)) -> TripleScores:
        """Of ranks, such as ``triple_ranks`` gives."""
        if not len(ranks):
            raise ValueError("ranks: expected at least one, got none; the split is empty")
        hits = {k: float((ranks <= k).double().mean()) for k in at}
        return cls(float(ranks.reciprocal().mean()), hits, float(ranks.mean()), len(ranks))


def rank_triples(
    model: RelationalEmbedding, kg: KnowledgeGraph, triples: Int[Tensor, "k 3"] | None = None
) -> TripleScores:
    """Filtered MRR and hits of some triples (default: the test's), each asked for its tail and for its head.

    Raises:
        ValueError: if the model is of another knowledge graph, or there are no triples.
    """
    return TripleScores.of(triple_ranks(model, kg, kg.test if triples is None else triples).flatten())


def triple_ranks(model: RelationalEmbedding, kg: KnowledgeGraph, triples: Int[Tensor, "k 3"]) -> Float[Tensor, "k 2"]:
    """Rank of the true tail and of the true head among all entities, 1 is best, float64.

    Filtered: other entities that a triple of training, validation or test confirms do not count (Bordes et al.,
    NeurIPS 2013). Ties have the mean of their ranks, so that a model which scores everything alike gains nothing
    (Sun et al., ACL 2020, arXiv:1911.03903; "realistic" in PyKEEN).

    Raises:
        ValueError: if the model is of another knowledge graph, or a triple names what is not in it.
    """
    for what in ("entities", "relations"):
        _require_same(what, getattr(model, what), getattr(kg, what))
    limit = torch.tensor([len(kg.entities), len(kg.relations), len(kg.entities)])
    if not bool(((triples >= 0) & (triples < limit)).all()):
        raise ValueError(f"triples: expected numbers from 0 to below {limit.tolist()}, got others")
    known = TailLists(kg, kg.train, kg.valid, kg.test)
    asked = both_ways(triples, len(kg.relations))
    ranks = torch.empty(len(asked), dtype=torch.float64)
    step = max(1, _ENTRIES // len(kg.entities))
    for start in range(0, len(asked), step):
        head, relation, tail = asked[start : start + step].unbind(1)
        scores = model.tail_scores(head, relation)
        true = scores.gather(1, tail[:, None])
        rows, others = known.of(head, relation)
        scores[rows, others] = -torch.inf
        better, same = (scores > true).sum(1), (scores == true).sum(1)  # the true tail itself is filtered out
        ranks[start : start + step] = 1 + better + same / 2
    return ranks.reshape(2, -1).T.contiguous()


def _require_same(what: str, got: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    if got == wanted:
        return
    pairs = enumerate(zip_longest(got, wanted))
    place, (one, other) = next((place, names) for place, names in pairs if names[0] != names[1])
    raise ValueError(
        f"model: expected one of this knowledge graph, with its {len(wanted):,} {what} in their order, got "
        f"{len(got):,}, of which number {place} is {one!r:.60}, not {other!r:.60}; train it on this graph"
    )
