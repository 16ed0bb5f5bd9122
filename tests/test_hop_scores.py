"""Scores of predicted distances against numpy, scipy and scikit-learn, by hand, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, r2_score

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.hop_scores import hop_scores, rank_correlation
from hyperspectral_geo.hyperbolic.hop_store import HopStore
from hyperspectral_geo.hyperbolic.splits import held_out_pairs

EXACT = {"rel": 1e-9, "abs": 1e-9, "nan_ok": True}


def random_graph(n: int = 40, links: int = 90, *, seed: int = 0) -> HopGraph:
    edges = torch.randint(n, (links, 2), generator=torch.Generator().manual_seed(seed))
    return HopGraph.from_edges(edges, names=[str(i) for i in range(n)])


def noisy(hops: torch.Tensor, *, seed: int = 0, ties: bool = False) -> torch.Tensor:
    """Positive predictions that have something to do with the distances, at unreachable pairs too."""
    noise = torch.rand(hops.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = torch.where(hops < 0, 5.0, hops.double()) + 2 * noise
    return found.round() if ties else found


def by_the_book(predicted: np.ndarray, hops: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """All scores from whole tables, by other libraries where they have them."""
    held = held & ~np.eye(len(hops), dtype=bool)
    judged = held & (hops > 0)
    d, h = predicted[judged], hops[judged].astype(float)
    precisions: dict[str, list[float]] = {"all": [], "held": []}
    for u in range(len(hops)):
        for name, ranked in (("all", np.arange(len(hops)) != u), ("held", held[u])):
            labels = hops[u][ranked] == 1
            if labels.any():
                # scikit-learn lets tied links share a threshold; a small push backwards makes them come last.
                order = np.unique(predicted[u][ranked], return_inverse=True)[1] + 0.5 * labels
                order = order + 1e-6 * np.arange(len(order)) * labels
                precisions[name].append(average_precision_score(labels, -order))
    return {
        "pairs": int(judged.sum()),
        "unreachable": int((held & (hops < 0)).sum()),
        "average_distortion": np.mean(np.abs(d - h) / h),
        "worst_distortion": np.max(d / h) / np.min(d / h),
        "stress": np.sum((d - h) ** 2) / np.sum(h**2),
        "r2": r2_score(h, d),
        "spearman": stats.spearmanr(d, h).statistic,
        "ranked": int(judged.sum()),
        "neighbour_map": np.mean(precisions["all"]),
        "held_neighbour_map": np.mean(precisions["held"]),
    }


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "tied"])
@pytest.mark.parametrize("links", [60, 200, 900])
@pytest.mark.parametrize("share", [None, 0.1, 0.5])
def test_scores_are_those_of_other_libraries(share: float | None, links: int, ties: bool):
    hops = hop_counts(random_graph(links=links))
    predicted = noisy(hops, ties=ties)
    held = None if share is None else held_out_pairs(40, share, seed=5)
    mask = torch.ones(40, 40, dtype=torch.bool) if held is None else held.mask()
    found = hop_scores(lambda sources: predicted[sources], hops, held=held, block=7)
    assert found.as_dict() == pytest.approx(by_the_book(predicted.numpy(), hops.numpy(), mask.numpy()), **EXACT)


def forms_of(hops: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "int64": hops.long(),
        "float32": hops.float(),
        "infinite": torch.where(hops < 0, math.inf, hops.double()),
        "strided": hops.T.contiguous().T,
    }


@pytest.mark.parametrize("form", ["int64", "float32", "infinite", "strided"])
def test_any_form_of_the_table_gives_the_same(form: str):
    hops = hop_counts(random_graph())
    predicted = noisy(hops)
    assert hop_scores(lambda s: predicted[s], forms_of(hops)[form]) == hop_scores(lambda s: predicted[s], hops)


class Model:
    """What the library's models look like from outside."""

    def __init__(self, predicted: torch.Tensor):
        self.predicted = predicted

    def distances(self, sources: torch.Tensor | None = None) -> torch.Tensor:
        return self.predicted if sources is None else self.predicted[sources]


@pytest.mark.parametrize("form", ["hash", "mask", "function"])
@pytest.mark.parametrize("block", [None, 1, 13, 1000])
def test_models_masks_and_blocks(form: str, block: int | None):
    hops = hop_counts(random_graph())
    predicted = noisy(hops).requires_grad_()
    held = held_out_pairs(40, 0.3, seed=0)
    given_as = {"hash": held, "mask": held.mask(), "function": lambda rows, columns: held.mask(rows, columns)}[form]
    found = hop_scores(Model(predicted), hops, held=given_as, block=block)
    assert found.as_dict() == pytest.approx(hop_scores(lambda s: predicted[s], hops, held=held).as_dict(), **EXACT)


def test_some_rows_and_rows_on_disk(tmp_path: Path):
    graph = random_graph()
    rows = torch.tensor([3, 30, 8, 21])
    hops, predicted = hop_counts(graph), noisy(hop_counts(graph))
    held = held_out_pairs(40, 0.5, seed=0)
    only = torch.zeros(40, 40, dtype=torch.bool)
    only[rows] = held.mask()[rows]
    expected = hop_scores(lambda s: predicted[s], hops, held=only)
    for found in (
        hop_scores(lambda s: predicted[s], hops[rows], sources=rows, held=held, block=3),
        hop_scores(lambda s: predicted[s], HopStore.build(graph, tmp_path / "rows", rows), held=held),
    ):
        assert found.held_neighbour_map == pytest.approx(expected.held_neighbour_map)
        assert (found.pairs, found.unreachable) == (expected.pairs, expected.unreachable)
        assert (found.r2, found.spearman) == pytest.approx((expected.r2, expected.spearman))


# By hand


PATH = torch.tensor([[0, 1, 2, -1], [-1, 0, 1, -1], [-1, -1, 0, -1], [-1, -1, -1, 0]], dtype=torch.int8)


def test_a_path_by_hand():
    predicted = torch.tensor([[9.0, 2, 3, 1], [0, 9, 1, 0], [0, 0, 9, 0], [0, 0, 0, 9]])
    assert hop_scores(lambda s: predicted[s], PATH).as_dict() == pytest.approx(
        {
            "pairs": 3,
            "unreachable": 9,
            "average_distortion": (1 + 0.5 + 0) / 3,
            "worst_distortion": 2,
            "stress": 2 / 6,
            "r2": 1 - 2 / (2 / 3),
            "spearman": math.sqrt(3) / 2,
            "ranked": 3,
            "neighbour_map": (1 / 2 + 1 / 3) / 2,  # node 3 is nearer to 0, and nodes 0 and 3 to 1
            "held_neighbour_map": (1 / 2 + 1 / 3) / 2,
        }
    )


def test_the_truth_is_perfect():
    hops = hop_counts(random_graph(links=300))
    found = hop_scores(lambda s: torch.where(hops[s] < 0, math.inf, hops[s].double()), hops)
    assert (found.average_distortion, found.worst_distortion, found.stress, found.r2) == (0, 1, 0, 1)
    assert (found.spearman, found.neighbour_map) == (pytest.approx(1), 1)


def test_a_constant_says_nothing():
    hops = hop_counts(random_graph(links=300))
    mean = hops[hops > 0].double().mean()
    found = hop_scores(lambda s: mean.expand(len(s), 40), hops)
    assert found.r2 == pytest.approx(0, abs=1e-12)
    assert math.isnan(found.spearman)
    # All tie: each of k neighbours comes after all 39 − k others.
    degrees = (hops == 1).sum(1).tolist()
    expected = [np.mean([j / (39 - k + j) for j in range(1, k + 1)]) for k in degrees if k]
    assert found.neighbour_map == pytest.approx(np.mean(expected))


def test_predictions_of_zero_or_less_have_an_infinite_worst_distortion():
    assert hop_scores(lambda s: torch.zeros(len(s), 4), PATH).worst_distortion == math.inf
    assert hop_scores(lambda s: -torch.ones(len(s), 4), PATH).worst_distortion == math.inf


def test_where_nothing_can_be_said_the_score_is_nan():
    hops = torch.tensor([[0, 2], [2, 0]])
    found = hop_scores(lambda s: torch.ones(len(s), 2), hops)
    assert math.isnan(found.r2)
    assert math.isnan(found.spearman)
    assert math.isnan(found.neighbour_map)


def test_neighbours_are_the_links_of_the_graph_where_lengths_are_not_hops():
    graph = HopGraph.from_edges([(0, 1), (1, 2), (0, 2)], lengths=[0.5, 0.5, 3.0])
    hops = hop_counts(graph)
    predicted = torch.tensor([[0.0, 1, 2], [1, 0, 9], [0, 0, 0]])
    assert hop_scores(lambda s: predicted[s], hops, graph=graph).neighbour_map == (1 + 1 / 2) / 2
    assert hop_scores(lambda s: predicted[s], hops).neighbour_map == 1 / 2  # 0 → 2 has length 1 by way of 1


def test_many_pairs_are_sampled_for_the_rank_correlation(monkeypatch: pytest.MonkeyPatch):
    hops = hop_counts(random_graph(300, 1500))
    predicted = noisy(hops)
    every = hop_scores(lambda s: predicted[s], hops)
    monkeypatch.setattr(import_module("hyperspectral_geo.hyperbolic.hop_scores"), "_RANKED", 20_000)
    some = hop_scores(lambda s: predicted[s], hops)
    assert every.ranked == every.pairs > 50_000
    assert abs(some.ranked - 20_000) < 600
    assert some.spearman == pytest.approx(every.spearman, abs=0.02)
    assert some == hop_scores(lambda s: predicted[s], hops)
    assert some.spearman != hop_scores(lambda s: predicted[s], hops, seed=1).spearman
    assert some.r2 == every.r2
    held = held_out_pairs(300, 0.5, seed=0)  # the same seed draws other pairs for the sample
    assert abs(hop_scores(lambda s: predicted[s], hops, held=held).ranked - 20_000) < 600


# Properties


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_rank_correlation_is_that_of_scipy(values: list[tuple[int, int]]):
    x, y = torch.tensor(values, dtype=torch.float64).T
    if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
        assert math.isnan(rank_correlation(x, y))
    else:
        assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@given(st.integers(0, 500), st.floats(0.01, 100))
def test_what_a_factor_changes(seed: int, factor: float):
    hops = hop_counts(random_graph(12, 40, seed=seed))
    predicted = noisy(hops, seed=seed) + 0.1
    plain, scaled = (hop_scores(lambda s, f=f: f * predicted[s], hops) for f in (1, factor))
    both = hop_scores(lambda s: factor * predicted[s], factor * torch.where(hops < 0, math.inf, hops.double()))
    for name in ("worst_distortion", "spearman", "neighbour_map", "pairs", "unreachable"):
        assert scaled.as_dict()[name] == pytest.approx(plain.as_dict()[name], **EXACT)
    for name in ("average_distortion", "stress", "r2"):  # scaled together, nothing is
        assert both.as_dict()[name] == pytest.approx(plain.as_dict()[name], rel=1e-9)


@given(st.integers(0, 500))
def test_the_numbering_of_nodes_does_not_matter(seed: int):
    hops = hop_counts(random_graph(12, 40, seed=seed))
    predicted = noisy(hops, seed=seed, ties=True)
    mask = held_out_pairs(12, 0.5, seed=seed).mask()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    turned = [table[order][:, order] for table in (predicted, hops, mask)]
    found = hop_scores(lambda s: turned[0][s], turned[1], held=turned[2])
    assert found.as_dict() == pytest.approx(hop_scores(lambda s: predicted[s], hops, held=mask).as_dict(), **EXACT)


def test_wikispeedia_is_left_with_its_unreachable_pairs(shared_data: Callable[[str], Path]):
    with np.load(shared_data("wikispeedia") / "hops_directed_int8.npz") as stored:
        hops = torch.from_numpy(stored["d"])
    rows = torch.arange(0, len(hops), 50)
    found = hop_scores(lambda s: torch.full((len(s), len(hops)), 3.2), hops[rows], sources=rows)
    some = hops[rows]
    assert found.pairs == int((some > 0).sum())
    assert found.unreachable == int((some < 0).sum()) > 10_000
    assert found.average_distortion == pytest.approx(float((3.2 / some[some > 0].double() - 1).abs().mean()), rel=1e-6)
