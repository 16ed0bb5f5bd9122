"""Nearest concepts: the same as a look at all of them finds, at any radius, with ties by number."""

from __future__ import annotations

import dataclasses

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopEmbedding, Staircase
from hyperspectral_geo.hyperbolic.distance_bounds import distance_below
from hyperspectral_geo.hyperbolic.geometry import exact_distance, points_from_tangents
from hyperspectral_geo.hyperbolic.neighbors import Neighbor, nearest, neighbors
from hyperspectral_geo.manifolds import Lorentz


def embedding(
    count: int = 60,
    *,
    dim: int = 4,
    geometry: str = "hyperbolic",
    radius: float = 2.0,
    parts: bool = True,
    dtype: torch.dtype = torch.float64,
) -> HopEmbedding:
    generator = torch.Generator().manual_seed(count + dim)
    tangents, targets = torch.randn(2, count, dim, generator=generator, dtype=dtype) * radius / dim**0.5
    a, b = torch.rand(2, count, generator=generator, dtype=dtype)
    extra = {"targets": targets, "outgoing": a, "incoming": b} if parts else {}
    return HopEmbedding(tuple(f"c{i}" for i in range(count)), tangents, geometry, 1.7, **extra)


def far_cluster(count: int = 80, *, radius: float = 20.0, spread: float = 1.0, dim: int = 3) -> HopEmbedding:
    """Points at a radius where inner products know nothing of their distances of about ``spread``."""
    generator = torch.Generator().manual_seed(1)
    direction = torch.tensor([0.6, -0.8, *[0.0] * (dim - 2)], dtype=torch.float64)
    aside = torch.randn(count, dim, generator=generator, dtype=torch.float64) * spread * 2 * np.exp(-radius)
    along = radius + spread * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    return HopEmbedding(tuple(map(str, range(count))), along * torch.nn.functional.normalize(direction + aside, dim=1))


def brute_force(model: HopEmbedding, query: int, direction: str) -> list[tuple[float, int]]:
    """(distance, number) of all others in order, by exact distances one by one."""
    others = torch.tensor([i for i in range(len(model)) if i != query], dtype=torch.int64)
    here = torch.full_like(others, query)
    ends = (here, others) if direction == "out" else (others, here)
    return sorted(zip(model.pair_distances(*ends).tolist(), others.tolist(), strict=True))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("parts", [False, True], ids=["bare", "all parts"])
@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("block", [1, 37, 1 << 20])
def test_all_geometries_agree_with_brute_force(geometry: str, parts: bool, direction, block: int):
    model = embedding(geometry=geometry, parts=parts)
    queries = torch.tensor([3, 0, 59, 3])
    distances, numbers = nearest(model, queries, 7, direction=direction, block=block)
    for row, query in enumerate(queries.tolist()):
        expected = brute_force(model, query, direction)[:7]
        assert numbers[row].tolist() == [number for _, number in expected]
        assert distances[row].tolist() == pytest.approx([distance for distance, _ in expected], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_read_out_is_applied_and_does_not_blur_the_order(dtype: torch.dtype):
    plain = embedding(200, dtype=dtype)
    # so steep that most distances are whole numbers: scores still tell the concepts apart
    model = dataclasses.replace(plain, readout=Staircase.even(5, slope=400.0, dtype=dtype))
    distances, numbers = nearest(model, torch.arange(200), 20)
    scores, expected = nearest(plain, torch.arange(200), 20)
    assert numbers.tolist() == expected.tolist()
    assert distances.dtype == dtype
    torch.testing.assert_close(distances, model.readout(scores), rtol=1e-5, atol=1e-4)
    assert (distances[:, 1:] == distances[:, :-1]).double().mean() > 0.3


@pytest.mark.parametrize("radius", [6.0, 12.0, 20.0])
def test_far_out_the_order_is_that_of_sixty_digits(radius: float):
    model = far_cluster(radius=radius)
    found = nearest(model, torch.arange(5), 12)
    with mpmath.workdps(60):
        vectors = [[mpmath.mpf(v) for v in row] for row in model.tangents.tolist()]
        norms = [mpmath.sqrt(mpmath.fsum(v * v for v in row)) for row in vectors]

        def true(i: int, j: int) -> mpmath.mpf:
            cosine = mpmath.fdot(vectors[i], vectors[j]) / norms[i] / norms[j]
            cosh = mpmath.cosh(norms[i]) * mpmath.cosh(norms[j])
            return mpmath.acosh(cosh - mpmath.sinh(norms[i]) * mpmath.sinh(norms[j]) * cosine)

        for row in range(5):
            expected = sorted((true(row, j), j) for j in range(len(model)) if j != row)[:12]
            assert found[1][row].tolist() == [number for _, number in expected]
            assert found[0][row].tolist() == pytest.approx([float(d) for d, _ in expected], abs=1e-6)


def test_far_out_distances_are_those_of_the_manifold_bit_by_bit():
    model = far_cluster(3000, dim=10)
    distances, numbers = nearest(model, torch.tensor([7]), 25, block=1000)
    expected = Lorentz().dist(model.points[7], model.points)
    expected[7] = torch.inf
    values, order = expected.sort(stable=True)
    assert numbers[0].tolist() == order[:25].tolist()
    assert torch.equal(distances[0], values[:25])


def test_equal_distances_come_by_number():
    row = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    model = HopEmbedding(tuple("abcdefghij"), torch.cat([row.repeat(4, 1), row + 1, row.repeat(5, 1)]))
    for block in (1, 3, 7, 1000):
        assert nearest(model, torch.tensor([5]), 8, block=block)[1].tolist() == [[0, 1, 2, 3, 6, 7, 8, 9]]
    assert nearest(model, torch.tensor([4]), 3)[1].tolist() == [[0, 1, 2]]


@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 50),
    st.floats(0, 30),
    st.sampled_from(GEOMETRIES),
    st.integers(1, 99),
)
def test_any_model_any_k_any_block(count: int, dim: int, k: int, radius: float, geometry: str, block: int):
    model = embedding(count, dim=dim, geometry=geometry, radius=radius)
    distances, numbers = nearest(model, torch.arange(count), k, block=block)
    assert distances.shape == numbers.shape == (count, min(k, count - 1))
    for query in range(count):
        expected = brute_force(model, query, "out")[:k]
        assert distances[query].tolist() == pytest.approx([d for d, _ in expected], rel=1e-9, abs=1e-9)
        assert query not in numbers[query].tolist()
        assert len(set(numbers[query].tolist())) == len(expected)


@given(st.floats(0, 25), st.integers(1, 6), st.sampled_from(GEOMETRIES), st.integers(0, 2**31))
def test_no_distance_is_below_its_bound(radius: float, dim: int, geometry, seed: int):
    generator = torch.Generator().manual_seed(seed)
    tangents = torch.randn(40, dim, generator=generator, dtype=torch.float64) * radius
    tangents[20:] = tangents[:20] * (1 + 1e-9 * torch.randn(20, 1, generator=generator, dtype=torch.float64))
    if geometry in ("hyperbolic", "product"):
        tangents *= (25 / torch.linalg.vector_norm(tangents, dim=1, keepdim=True).clamp_min(25)).clamp_max(1)
    x = points_from_tangents(tangents, geometry)
    below = distance_below(x, x, geometry)
    assert bool((below <= exact_distance(x[:, None], x, geometry)).all())


def test_bounds_are_tight_where_the_product_is_good():
    for geometry in GEOMETRIES:
        x = embedding(geometry=geometry, parts=False).points
        exact = exact_distance(x[:, None], x, geometry)
        off = ~torch.eye(len(x), dtype=torch.bool)
        assert (exact - distance_below(x, x, geometry))[off].max() < 1e-7 * exact.abs().max()


# By name


def test_queries_are_names_numbers_or_several():
    model = HopEmbedding(("a", "b", "c"), torch.tensor([[0.0], [2.0], [3.0]]), "euclidean", 2.0)
    to_b = [Neighbor("c", 2.0), Neighbor("a", 4.0)]
    assert neighbors(model, "b") == neighbors(model, 1) == to_b
    assert neighbors(model, ["b", 0], 1) == [to_b[:1], [Neighbor("b", 4.0)]]
    assert neighbors(model, torch.tensor([1]), 1) == [to_b[:1]]
    assert neighbors(model, []) == []


def test_in_and_out_differ_where_the_model_is_directed():
    costs = torch.tensor([0.0, 5.0, 0.0])
    model = HopEmbedding(("a", "b", "c"), torch.zeros(3, 1), "euclidean", outgoing=costs)
    assert neighbors(model, "a", direction="in") == [Neighbor("c", 0.0), Neighbor("b", 5.0)]
    assert neighbors(model, "a", direction="out") == [Neighbor("b", 0.0), Neighbor("c", 0.0)]


def test_a_lonely_concept_has_no_neighbours():
    model = HopEmbedding(("a",), torch.zeros(1, 2))
    assert neighbors(model, "a") == []
    assert nearest(model, torch.tensor([0]), 3)[0].shape == (1, 0)


BAD = {
    "unknown": (("bb", 3), {}, r"'bb' is not one of the 3 concepts"),
    "number too large": ((3, 3), {}, "from 0 to 2, got 3 to 3"),
    "negative": (([0, -1], 3), {}, "got -1 to 0"),
    "no k": (("b", 0), {}, "k: expected a whole number >= 1, got 0"),
    "real k": (("b", 1.5), {}, "k: expected"),
    "a flag for k": (("b", True), {}, "k: expected"),
    "no block": (("b", 1), {"block": 0}, "block: expected"),
    "sideways": (("b", 1), {"direction": "up"}, "direction: expected 'out' or 'in', got 'up'"),
}


@pytest.mark.parametrize(("arguments", "options", "said"), BAD.values(), ids=BAD)
def test_bad_questions_are_refused(arguments, options, said: str, unchecked):
    model = HopEmbedding(("a", "b", "c"), torch.zeros(3, 1), "euclidean")
    with pytest.raises(ValueError, match=said):
        neighbors(model, *arguments, **options)
