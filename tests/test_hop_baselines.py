"""Simple predictions: best of their kind, exact where they can be, blind to held-out pairs, and the known figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from hyperspectral_geo.data import load_wikispeedia
from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.baselines import Bilinear, additive, best_symmetric, constant, star
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.hop_scores import hop_scores
from hyperspectral_geo.hyperbolic.hop_store import HopStore
from hyperspectral_geo.hyperbolic.hop_table import training_pairs
from hyperspectral_geo.hyperbolic.low_rank import additive_low_rank
from hyperspectral_geo.hyperbolic.splits import held_out_pairs

LOSSES = ["squared", "relative"]


def random_hops(n: int = 30, links: int = 70, *, seed: int = 0) -> torch.Tensor:
    edges = torch.randint(n, (links, 2), generator=torch.Generator().manual_seed(seed))
    return hop_counts(HopGraph.from_edges(edges, names=[str(i) for i in range(n)]))


def pairs_seen(hops: torch.Tensor, held=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seen = (hops > 0) if held is None else (hops > 0) & ~held.mask()
    u, v = seen.nonzero(as_tuple=True)
    return u.numpy(), v.numpy(), hops[u, v].double().numpy()


def least_squares(rows: list[np.ndarray], h: np.ndarray, unknowns: int, loss: str) -> np.ndarray:
    """Dense least squares: each pair is an equation, in which the unknowns of ``rows`` add up to its distance."""
    matrix = np.zeros((len(h), unknowns))
    for row in rows:
        np.add.at(matrix, (np.arange(len(h)), row), 1.0)
    scale = np.ones(len(h)) if loss == "squared" else 1 / h
    return np.linalg.lstsq(matrix * scale[:, None], h * scale, rcond=None)[0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("links", [40, 70, 400])
def test_additive_and_star_are_least_squares(loss: str, share: float, links: int):
    hops, held = random_hops(links=links), held_out_pairs(30, share, seed=1)
    u, v, h = pairs_seen(hops, held)
    x = least_squares([u, 30 + v], h, 60, loss)
    found = additive(hops, held=held, loss=loss).distances().numpy()
    assert found[u, v] == pytest.approx(x[u] + x[30 + v], abs=1e-6)
    x = least_squares([u, v], h, 30, loss)
    found = star(hops, held=held, loss=loss).distances()
    assert found.numpy()[u, v] == pytest.approx(x[u] + x[v], abs=1e-6)
    assert torch.equal(found, found.T)


@given(st.integers(0, 500), st.sampled_from(LOSSES))
def test_no_constant_is_better(seed: int, loss: str):
    hops = random_hops(10, 25, seed=seed)
    _, _, h = pairs_seen(hops)

    def badness(c: float) -> float:
        return float(np.sum((c - h) ** 2) if loss == "squared" else np.sum(np.abs(c / h - 1)))

    best = min(badness(c) for c in [*np.unique(h), minimize_scalar(badness, bounds=(0, 10), method="bounded").x])
    found = constant(hops, loss=loss).distances()
    assert float(found.max()) == float(found.min())
    assert badness(float(found[0, 0])) <= best + 1e-9


@pytest.mark.parametrize(
    ("loss", "score"), [("squared", "r2"), ("squared", "stress"), ("relative", "average_distortion")]
)
def test_no_symmetric_table_is_better(loss: str, score: str):
    hops = random_hops(6, 14, seed=2)
    sign = -1 if score == "r2" else 1
    best = hop_scores(best_symmetric(hops, loss=loss), hops).as_dict()[score]
    levels = [h / 2 for h in range(1, 9)]
    table = best_symmetric(hops, loss=loss).distances()
    for (u, v), level in itertools.product(itertools.combinations(range(6), 2), levels):
        other = table.clone()
        other[u, v] = other[v, u] = level
        assert sign * hop_scores(lambda s, other=other: other[s], hops).as_dict()[score] >= sign * best - 1e-12
    assert torch.equal(table, table.T)
    assert bool((table.isfinite() | ((hops < 0) & (hops.T < 0))).all())


def low_rank_hops(n: int = 24, rank: int = 2, *, seed: int = 0) -> torch.Tensor:
    """Distances that an additive model plus this rank explains fully."""
    generator = torch.Generator().manual_seed(seed)
    a, b = 3 + torch.rand(2, n, generator=generator, dtype=torch.float64)
    left, right = torch.randn(2, n, rank, generator=generator, dtype=torch.float64)
    return (a[:, None] + b + 0.3 * left @ right.T).fill_diagonal_(0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_held_out_pairs_of_a_low_rank_table_are_found(rank: int, loss: str):
    hops, held = low_rank_hops(60, rank), held_out_pairs(60, 0.2, seed=0)
    found = hop_scores(additive_low_rank(hops, rank, held=held, ridge=1e-6, loss=loss, sweeps=300), hops, held=held)
    assert found.r2 > 0.999


def test_the_ridge_is_chosen_where_too_many_numbers_would_overfit():
    hops, held = low_rank_hops(60, 2), held_out_pairs(60, 0.3, seed=0)
    noise = 0.5 * torch.randn(60, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hops = (hops + noise).clamp_min(0.1).fill_diagonal_(0)
    chosen = hop_scores(additive_low_rank(hops, 15, held=held), hops, held=held).r2
    free = hop_scores(additive_low_rank(hops, 15, held=held, ridge=0.0), hops, held=held).r2
    assert chosen > free + 0.2
    assert chosen > hop_scores(additive(hops, held=held), hops, held=held).r2 + 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_pairs_that_choose_the_ridge_have_nothing_to_do_with_those_held_out(seed: int):
    hops = low_rank_hops(40, 1)
    chosen = [additive_low_rank(hops, 1, held=held_out_pairs(40, 0.3, seed=s), seed=seed) for s in (0, 1, 2)]
    assert all(hop_scores(model, hops).r2 > 0.95 for model in chosen)


def test_in_sample_it_is_the_best_additive_plus_low_rank_fit():
    hops = random_hops(12, 60).double()
    u, v, h = pairs_seen(hops)

    def badness(x: np.ndarray) -> float:
        a, b, left, right = x.reshape(4, 12)
        return float(np.sum((a[u] + b[v] + left[u] * right[v] - h) ** 2))

    generator = np.random.default_rng(0)
    best = min(minimize(badness, generator.normal(size=48)).fun for _ in range(6))
    found = min(
        float(np.sum((additive_low_rank(hops, 1, ridge=0, sweeps=2000, seed=s).distances().numpy()[u, v] - h) ** 2))
        for s in range(6)
    )
    assert found == pytest.approx(best, rel=0.01)


FITS: dict[str, Callable[..., Bilinear]] = {
    "constant": constant,
    "star": star,
    "additive": additive,
    "low rank": lambda hops, **options: additive_low_rank(hops, 2, **options),
}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("loss", LOSSES)
def test_held_out_pairs_are_not_looked_at(fit: str, loss: str):
    hops, held = random_hops(links=200), held_out_pairs(30, 0.3, seed=0)
    spoiled = torch.where(held.mask(), 1, hops)
    first, second = (FITS[fit](table, held=held, loss=loss).distances() for table in (hops, spoiled))
    assert torch.equal(first, second)
    assert not torch.equal(first, FITS[fit](spoiled, loss=loss).distances())


@pytest.mark.parametrize("fit", FITS)
def test_models_predict_some_rows_and_say_their_size(fit: str):
    hops = random_hops(links=200)
    model = FITS[fit](hops)
    rows = torch.tensor([4, 1, 4])
    assert torch.allclose(model.distances(rows), model.distances()[rows], rtol=1e-12)
    assert model.distances().isfinite().all()
    assert model.numbers_per_node == {"constant": 0, "star": 1, "additive": 2, "low rank": 6}[fit]


@pytest.mark.parametrize("fit", FITS)
def test_nodes_without_walks_and_other_forms_of_the_table(fit: str):
    hops = random_hops(12, 60)
    hops[0], hops[:, 3] = -1, -1
    hops.fill_diagonal_(0)
    expected = FITS[fit](hops).distances()
    assert expected.isfinite().all()
    for other in (hops.long(), torch.where(hops < 0, math.inf, hops.double()), hops.float()):
        assert torch.allclose(FITS[fit](other).distances(), expected, rtol=1e-6)


def test_training_pairs_leave_the_table_alone():
    hops = random_hops()
    before, held = hops.clone(), held_out_pairs(30, 0.5, seed=0)
    left = training_pairs(hops, held=held)
    assert torch.equal(hops, before)
    assert torch.equal(left > 0, (hops > 0) & ~held.mask())
    assert not left.diagonal().any()
    unsigned = hops.clamp_min(1).fill_diagonal_(0).to(torch.uint8)
    assert torch.equal(training_pairs(unsigned, held=held) < 0, held.mask())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("hops", "options", "message"),
    [
        (torch.ones(3, 4), {}, r"hops: expected shape \(n, n\)"),
        (torch.ones(3, 3), {}, "hops: expected distances"),
        (torch.full((3, 3), math.nan), {}, "hops: expected distances .* got nan"),
        (torch.eye(3).long() - 1, {}, "hops: expected pairs to train on"),
        (torch.zeros(1, 1), {}, "hops: expected pairs to train on"),
        (torch.tensor(1.0), {}, "hops: expected real distances of shape"),
        ([[0, 1], [1, 0]], {}, "hops: expected real distances of shape .* got list"),
        (1 - torch.eye(3), {"held": torch.ones(3, 3).bool()}, "hops: expected pairs to train on"),
        (1 - torch.eye(3), {"held": held_out_pairs(4, 0.1, seed=0)}, "held: expected pairs of 3 nodes"),
        (1 - torch.eye(3), {"loss": "absolute"}, "loss: expected 'squared' or 'relative'"),
    ],
)
def test_what_every_fit_refuses(fit: str, hops: torch.Tensor, options: dict, message: str, unchecked):
    with pytest.raises(ValueError, match=message):
        FITS[fit](hops, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": -1}, "rank: expected a whole number from 0 to 3"),
        ({"rank": 4}, "rank: expected a whole number from 0 to 3"),
        ({"rank": 1.0}, "rank: expected a whole number"),
        ({"ridge": -1}, "ridge: expected a number from 0"),
        ({"ridge": math.nan}, "ridge: expected a number from 0"),
        ({}, "hops: expected enough pairs to choose a ridge"),
    ],
)
def test_what_the_low_rank_fit_refuses(options: dict, message: str, unchecked):
    with pytest.raises(ValueError, match=message):
        additive_low_rank(1 - torch.eye(3), **{"rank": 1, **options})


def test_distances_on_disk_are_read_first(tmp_path: Path, unchecked):
    graph = HopGraph.from_edges([(0, 1), (1, 2), (2, 0)])
    store = HopStore.build(graph, tmp_path / "store")
    with pytest.raises(ValueError, match="expected a tensor with all pairs, got HopStore; pass store"):
        additive(store)
    assert torch.equal(additive(store[:]).distances(), additive(hop_counts(graph)).distances())


def test_figures_of_wikispeedia(shared_data: Callable[[str], Path]):
    core = load_wikispeedia(shared_data("wikispeedia"), core=True)
    hops = hop_counts(HopGraph.from_edges(core.edges, names=core.names))
    rows = torch.arange(0, len(hops), 9)
    judged = {"sources": rows}
    symmetric = hop_scores(best_symmetric(hops), hops[rows], **judged)
    assert (symmetric.r2, symmetric.average_distortion) == pytest.approx((0.636, 0.1134), abs=0.01)
    held = held_out_pairs(len(hops), 0.1, seed=0)
    sums = hop_scores(additive(hops, held=held), hops[rows], held=held, **judged)
    assert (sums.r2, sums.average_distortion) == pytest.approx((0.6715, 0.1319), abs=0.01)
