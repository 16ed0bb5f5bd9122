"""Link prediction against scikit-learn and plain loops, and what is refused."""

from __future__ import annotations

import math

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from hyperspectral_geo.hyperbolic import HopGraph, ranking
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.link_prediction import link_prediction
from hyperspectral_geo.hyperbolic.splits import LinkSplit, link_split

N = 80


def small_world(*, directed: bool, seed: int = 0) -> HopGraph:
    made = networkx.connected_watts_strogatz_graph(N, 8, 0.2, seed=seed)
    return HopGraph.from_edges(torch.tensor(list(made.edges)), names=[str(i) for i in range(N)], directed=directed)


def predictions(*, ties: bool, seed: int = 0) -> torch.Tensor:
    """Distances on a ring with noise: better than chance, far from right, and not symmetric."""
    places = torch.arange(N)
    gap = (places - places[:, None]).abs()
    found = torch.minimum(gap, N - gap) + 6 * torch.rand(N, N, generator=torch.Generator().manual_seed(seed)).double()
    return (found / 3).round() if ties else found


def by_loops(predicted: np.ndarray, split: LinkSplit, part: str) -> dict[str, float]:
    links = getattr(split, part).tolist()
    pairs = links + getattr(split, f"{part}_non_links").tolist()
    labels = [1] * len(links) + [0] * len(links)
    nearness = [-predicted[u, v] for u, v in pairs]
    known = {(u, v) for u, v in split.graph.edges.tolist()}
    ends = links if split.graph.directed else links + [[v, u] for u, v in links]
    ranks = []
    for u, v in ends:
        others = [w for w in range(N) if w != u and (u, w) not in known]
        ranks.append(1 + sum(predicted[u, w] <= predicted[u, v] for w in others))
    hits = {f"hits_at_{k}": float(np.mean([rank <= k for rank in ranks])) for k in (1, 3, 10)}
    return {
        "links": len(links),
        "auc": roc_auc_score(labels, nearness),
        "average_precision": average_precision_score(labels, nearness),
        "mean_reciprocal_rank": float(np.mean([1 / rank for rank in ranks])),
        **hits,
    }


@pytest.mark.parametrize("directed", [True, False], ids=["directed", "undirected"])
@pytest.mark.parametrize("ties", [True, False], ids=["tied", "distinct"])
@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("block", [None, 7])
def test_scores_are_those_of_other_libraries(part: str, ties: bool, directed: bool, block: int | None):
    split = link_split(small_world(directed=directed), seed=3, test=0.2, validation=0.1)
    predicted = predictions(ties=ties)
    found = link_prediction(lambda sources: predicted[sources], split, part=part, block=block)
    assert found.as_dict() == pytest.approx(by_loops(predicted.numpy(), split, part), rel=1e-12)
    assert 0.6 < found.auc < 1


def test_who_knows_the_links_scores_one_and_who_knows_nothing_half():
    split = link_split(small_world(directed=True), seed=0)
    hops = hop_counts(split.graph).double()
    perfect = link_prediction(lambda s: torch.where(hops[s] < 0, math.inf, hops[s]), split)
    assert set(perfect.as_dict().values()) == {perfect.links, 1.0}
    same = link_prediction(lambda s: torch.zeros(len(s), N), split)
    assert (same.auc, same.average_precision, same.hits_at_10) == (0.5, 0.5, 0)


def test_hops_of_the_training_graph_say_something_of_what_is_held_out():
    split = link_split(small_world(directed=False), seed=0)
    hops = hop_counts(split.training).double()
    found = link_prediction(lambda s: hops[s], split)
    assert found.auc > 0.75
    assert (hops[tuple(split.test.T)] > 1).all()


@given(st.integers(0, 300))
def test_only_the_order_counts_and_not_the_numbering(seed: int):
    split = link_split(small_world(directed=True, seed=1), seed=seed, test=0.05)
    predicted = predictions(ties=True, seed=seed)
    plain = link_prediction(lambda s: predicted[s], split)
    assert link_prediction(lambda s: (1 + predicted[s]).log(), split) == plain
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    place = torch.argsort(order)
    turned = LinkSplit(
        HopGraph.from_edges(place[split.graph.edges], names=[str(i) for i in order.tolist()]),
        split.training,
        *(place[getattr(split, f)] for f in ("validation", "test", "validation_non_links", "test_non_links")),
    )
    other = predicted[order][:, order]
    assert link_prediction(lambda s: other[s], turned).as_dict() == pytest.approx(plain.as_dict(), rel=1e-12)


@pytest.mark.parametrize(
    ("predict", "options", "message"),
    [
        (lambda s: torch.ones(len(s), N), {"part": "training"}, "part: expected 'test' or 'validation'"),
        (lambda s: torch.ones(len(s), N), {"part": "validation"}, "split: expected held-out links, got none"),
        (lambda s: torch.ones(len(s), N - 1), {}, "predict: expected real predictions of shape"),
        (lambda s: torch.full((len(s), N), math.nan), {}, "predict: expected numbers, got NaN"),
        (lambda s: torch.ones(len(s), N), {"block": -1}, "block: expected a whole number of rows"),
    ],
)
def test_what_is_refused(predict, options: dict, message: str, unchecked):
    split = link_split(small_world(directed=True), seed=0, validation=0.0)
    with pytest.raises(ValueError, match=message):
        link_prediction(predict, split, **options)


@pytest.mark.parametrize("directed", [True, False])
def test_rows_of_links_are_those_looked_up(directed: bool):
    graph = small_world(directed=directed)
    some = torch.tensor([7, 0, 79, 7])
    assert torch.equal(ranking.linked_rows(graph)(some), graph.has_links(some[:, None], torch.arange(N)))
    assert ranking.linked_rows(HopGraph.from_edges([], names=["a"]))(torch.tensor([0, 0])).tolist() == [[False]] * 2


# Ranks, which reconstruction and the neighbours' precision share


@given(st.integers(0, 400), st.integers(0, 5), st.integers(1, 7))
def test_ranks_by_counting(seed: int, rows: int, columns: int):
    generator = torch.Generator().manual_seed(seed)
    distance = torch.randint(4, (rows, columns), generator=generator).double()
    distance[distance == 3] = math.inf
    kind = torch.randint(3, (rows, columns), generator=generator)
    found = ranking.link_ranks(distance, kind == 0, kind == 1)
    ranks, precisions = [], []
    for near, kinds in zip(distance.tolist(), kind.tolist(), strict=True):
        linked = sorted(d for d, k in zip(near, kinds, strict=True) if k == 0)
        before = [sum(o <= d for o, k in zip(near, kinds, strict=True) if k == 1) for d in linked]
        ranks += [1 + b for b in before]
        precisions.append(np.mean([j / (j + b) for j, b in enumerate(before, 1)]) if linked else math.nan)
    assert found.ranks().tolist() == ranks
    assert found.average_precision().tolist() == pytest.approx(precisions, nan_ok=True)
