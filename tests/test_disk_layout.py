"""Places in the disk and factors of predicted hops, for models of every kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopEmbedding, HopGraph, Staircase, fit
from hyperspectral_geo.hyperbolic.disk_layout import disk_layout
from hyperspectral_geo.hyperbolic.hop_factors import hop_factors
from hyperspectral_geo.hyperbolic.step_forms import feature_count


def random_model(n: int, dim: int, geometry: Any = "hyperbolic", *, forms: bool = False) -> HopEmbedding:
    """Two points and two scalars a concept, a staircase, perhaps forms; random."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int, size: float = 0.7) -> torch.Tensor:
        return size * torch.randn(*shape, generator=generator, dtype=torch.float64)

    tangents, targets, stairs = draw(n, dim), draw(n, dim), Staircase.even(5, dtype=torch.float64)
    names = tuple(f"concept {i}" for i in range(n))
    made = HopEmbedding(names, tangents, geometry, 1.0, targets, 1 + draw(n, size=0.3), 1 + draw(n, size=0.3), stairs)
    f = feature_count(dim)
    return replace(made, forms=draw(5, f, f, size=0.02)) if forms else made


def off_diagonal(table: torch.Tensor) -> torch.Tensor:
    return table[~torch.eye(len(table), dtype=torch.bool)]


# Factors


@pytest.mark.parametrize("forms", [False, True], ids=["plain", "forms"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_factors_come_near_the_best_of_their_rank(geometry: str, forms: bool):
    model = random_model(120, 3, geometry, forms=forms)
    true = model.distances()
    mean = float(off_diagonal(true).mean())
    u, s, vh = torch.linalg.svd(true + mean * torch.eye(120))
    best = float(off_diagonal((u[:, :6] * s[:6]) @ vh[:6] - true).abs().mean())
    found = hop_factors(model, rank=6)
    error = float(off_diagonal(found.distances() - true).abs().mean())
    assert found.mean_error == pytest.approx(error, rel=1e-9)
    assert error < 1.25 * best + 0.02


def test_full_rank_leaves_only_the_rounding():
    model = random_model(40, 3)
    assert hop_factors(model, rank=40, sweeps=20).mean_error < 0.05


def test_some_rows_and_columns_tell_nearly_as_much_as_all():
    model = random_model(600, 3)
    some, every = (hop_factors(model, rank=6, samples=samples).mean_error for samples in (150, 600))
    assert some < 1.2 * every


def test_direction_is_kept():
    model = random_model(60, 3)
    found, true = hop_factors(model, rank=12).distances(), model.distances()
    assert np.corrcoef((found - found.T).flatten(), (true - true.T).flatten())[0, 1] > 0.95


def test_the_same_seed_gives_the_same_bytes():
    model = random_model(80, 2, forms=True)
    one, same, other = (hop_factors(model, rank=4, samples=30, seed=seed) for seed in (1, 1, 2))
    assert one.source.equal(same.source)
    assert one.target.equal(same.target)
    assert not one.source.equal(other.source)


def test_rows_are_those_of_the_whole_table():
    found = hop_factors(random_model(30, 2), rank=3)
    rows = torch.tensor([4, 0, 17])
    assert torch.allclose(found.distances(rows), found.distances()[rows], rtol=1e-12)
    assert not bool(found.distances().diagonal().any())


@pytest.mark.parametrize("n", [1, 2])
def test_few_concepts_are_no_trouble(n: int):
    model = random_model(n, 3)
    found = hop_factors(model)
    assert found.distances().shape == (n, n)
    assert torch.allclose(found.distances(), model.distances(), atol=0.05)
    assert disk_layout(model, found).shape == (n, 2)


# Layout


def test_a_model_of_two_dimensions_is_its_own_picture():
    model = random_model(50, 2)
    assert torch.allclose(disk_layout(model, hop_factors(model)), model.poincare(), rtol=1e-15)
    far = replace(model, tangents=model.tangents * 40)
    norm = torch.linalg.vector_norm(disk_layout(far, hop_factors(far)), dim=1)
    assert float(norm.max()) <= 0.9995 + 1e-12
    there, here = (
        torch.nn.functional.normalize(z, dim=1) for z in (disk_layout(far, hop_factors(far)), model.tangents)
    )
    assert torch.allclose(there, here)


@pytest.fixture(scope="module")
def towns() -> tuple[HopEmbedding, np.ndarray, HopGraph]:
    """A model of four clusters of 40 around a hub that all link to and from, and each concept's cluster."""
    links = nx.stochastic_block_model([40] * 4, np.full((4, 4), 0.004) + 0.25 * np.eye(4), seed=2, directed=True)
    edges = [*links.edges, *((i, 160) for i in range(160)), *((160, i) for i in range(160))]
    graph = HopGraph.from_edges(edges, names=[str(i) for i in range(161)])
    return fit(graph, dim=5, steps=300), np.arange(161) // 40, graph


def test_the_hub_stands_in_the_middle_and_clusters_together(towns: tuple[HopEmbedding, np.ndarray, HopGraph]):
    model, cluster, _ = towns
    places = disk_layout(model, hop_factors(model)).numpy()
    norm = np.hypot(*places.T)
    assert norm.argmin() == 160
    assert norm.max() < 1
    room = (1 - norm**2)[:, None] * (1 - norm**2)
    apart = np.square(places[:, None] - places).sum(-1) / room
    np.fill_diagonal(apart, np.inf)
    same = cluster[np.argsort(apart, axis=1)[:160, :5]] == cluster[:160, None]
    assert same.mean() > 0.6  # by chance 0.25
    quarters = np.histogram(np.arctan2(places[:, 1], places[:, 0]), 4, (-np.pi, np.pi))[0]
    assert quarters.min() > 20  # the disk is filled all around


def test_the_same_arguments_give_the_same_places(towns: tuple[HopEmbedding, np.ndarray, HopGraph]):
    model = towns[0]
    factors = hop_factors(model)
    one, same, other = (disk_layout(model, factors, steps=30, seed=seed) for seed in (0, 0, 1))
    assert one.equal(same)
    assert not one.equal(other)


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 0}, "rank: expected"),
        ({"rank": 2.5}, "rank: expected"),
        ({"samples": 0}, "samples: expected"),
        ({"sweeps": -1}, "sweeps: expected"),
        ({"seed": -1}, "seed: expected"),
    ],
)
def test_factors_of_no_sense_are_refused(options: dict[str, Any], said: str, unchecked: None):
    with pytest.raises(ValueError, match=said):
        hop_factors(random_model(5, 2), **options)


def test_a_model_without_concepts_is_refused():
    with pytest.raises(ValueError, match="model: expected one with concepts, got none"):
        hop_factors(HopEmbedding((), torch.zeros(0, 2)))


@pytest.mark.parametrize(("options", "said"), [({"steps": 0}, "steps: expected"), ({"seed": -1}, "seed: expected")])
def test_layouts_of_no_sense_are_refused(options: dict[str, Any], said: str, unchecked: None):
    model = random_model(5, 3)
    with pytest.raises(ValueError, match=said):
        disk_layout(model, hop_factors(model), **options)


def test_factors_of_another_model_are_refused():
    with pytest.raises(ValueError, match="factors: expected those of 5 concepts, got 6"):
        disk_layout(random_model(5, 3), hop_factors(random_model(6, 3)))
