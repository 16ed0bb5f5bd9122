"""The contract of every geometry: distances against mpmath and other libraries, gradients, edges, and metric axioms."""

from __future__ import annotations

import math

import geoopt
import mpmath
import pytest
import torch
from hop_cases import plain_distance, tangents
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic.geometry import (
    GEOMETRIES,
    accurate_pairwise,
    exact_distance,
    pairwise_distance,
    points_from_tangents,
    require_geometry,
    rowwise_distance,
)
from hyperspectral_geo.manifolds import Lorentz

METRICS = [geometry for geometry in GEOMETRIES if geometry != "bilinear"]
DTYPES = [torch.float64, torch.float32]


def in_many_digits(x: torch.Tensor, y: torch.Tensor, geometry: str) -> mpmath.mpf:
    """Distance of two points as they stand, in 60 digits; of hyperbolic points the space-like parts count."""
    with mpmath.workdps(60):
        a, b = ([mpmath.mpf(v) for v in point.tolist()] for point in (x, y))
        if geometry == "euclidean":
            return mpmath.sqrt(sum((v - w) ** 2 for v, w in zip(a, b, strict=True)))
        inner = sum(v * w for v, w in zip(a, b, strict=True))
        if geometry == "bilinear":
            return -inner
        if geometry == "spherical":
            return mpmath.acos(min(mpmath.mpf(1), inner / mpmath.sqrt(sum(v * v for v in a) * sum(v * v for v in b))))
        if geometry == "product":
            half = 1 + len(a) // 2
            parts = (x[:half], y[:half], "hyperbolic"), (x[half:], y[half:], "euclidean")
            return mpmath.hypot(*(in_many_digits(*part) for part in parts))
        a, b = a[1:], b[1:]
        times = mpmath.sqrt(1 + sum(v * v for v in a)) * mpmath.sqrt(1 + sum(v * v for v in b))
        return mpmath.acosh(max(mpmath.mpf(1), times - sum(v * w for v, w in zip(a, b, strict=True))))


def reference(x: torch.Tensor, y: torch.Tensor, geometry: str) -> torch.Tensor:
    return torch.tensor([[float(in_many_digits(p, q, geometry)) for q in y] for p in x], dtype=torch.float64)


def bound(true: torch.Tensor, radius: float, eps: float, geometry: str) -> torch.Tensor:
    """What one matrix product may be off by: the error of what it computes over the slope of the distance in it."""
    size, slope = {
        "euclidean": (radius**2, true),
        "bilinear": (radius**2, torch.ones_like(true)),
        "spherical": (1.0, true.sin()),
        "hyperbolic": (math.exp(2 * radius), true.sinh()),
        # the curved part may be shorter than the whole, down to where the error is that of a root
        "product": (math.exp(2 * radius), torch.full_like(true, math.sqrt(eps) * math.exp(radius))),
    }[geometry]
    return 8 * eps * (size / slope + true.abs())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("radius", [0.01, 1.0, 2.5, 9.0])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_one_matrix_product_is_good_to_the_stated_error(geometry, radius: float, dtype: torch.dtype):
    radius = min(radius, 1.5 if geometry == "spherical" else 5.0 if dtype == torch.float32 else 9.0)
    points = points_from_tangents(tangents(11, 3, radius=radius, dtype=dtype), geometry)
    assert points.dtype == dtype
    x, y = points[:5], points[5:]
    true = reference(x, y, geometry)
    found = pairwise_distance(x, y, geometry)
    assert found.dtype == dtype
    assert bool(((found - true).abs() <= bound(true, radius, torch.finfo(dtype).eps, geometry)).all())
    rows = rowwise_distance(x.repeat_interleave(6, 0), y.repeat(5, 1), geometry).reshape(5, 6)
    assert bool(((rows - true).abs() <= bound(true, radius, torch.finfo(dtype).eps, geometry)).all())


@pytest.mark.parametrize("radius", [1e-6, 1.0, 12.0, 40.0])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_exact_distances_are_those_of_mpmath_at_any_radius(geometry, radius: float):
    radius = min(radius, 1.5) if geometry == "spherical" else radius
    z = tangents(7, 4, radius=radius)
    z[4:] = z[:3] * (1 + 1e-7)  # near ones
    points = points_from_tangents(z, geometry)
    true = reference(points, points, geometry)
    found = exact_distance(points[:, None], points, geometry)
    apart = ~torch.eye(7, dtype=torch.bool)
    rtol = 1e-9 if geometry == "spherical" else 1e-12  # the reference normalises, which moves near points
    torch.testing.assert_close(found[apart], true[apart], rtol=rtol, atol=1e-15 * radius)
    if geometry != "bilinear":
        assert float(found.diagonal().abs().max()) == 0


def test_distances_are_those_of_the_manifolds():
    for geometry, manifold in (
        ("hyperbolic", Lorentz()),
        ("spherical", geoopt.Sphere()),
        ("euclidean", geoopt.Euclidean(1)),
    ):
        x, y = (points_from_tangents(tangents(9, 3, radius=1.4, seed=s), geometry) for s in (0, 1))
        for found in (exact_distance(x, y, geometry), rowwise_distance(x, y, geometry)):
            torch.testing.assert_close(found, manifold.dist(x, y), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("geometry", METRICS)
def test_tangents_are_as_long_as_their_points_are_far_from_the_origin(geometry, d: int):
    z = tangents(20, d, radius=3.0)
    points = points_from_tangents(z, geometry)
    origin = points_from_tangents(torch.zeros_like(z), geometry)
    torch.testing.assert_close(exact_distance(points, origin, geometry), z.norm(dim=1), rtol=1e-12, atol=1e-12)
    assert points.shape == (20, d + (geometry != "euclidean"))
    if geometry == "spherical":
        torch.testing.assert_close(points.norm(dim=1), torch.ones(20, dtype=torch.float64))
    if geometry in ("hyperbolic", "product"):
        curved = points if geometry == "hyperbolic" else points[:, : 1 + (d + 1) // 2]
        norm = curved[:, 1:].square().sum(1) - curved[:, 0].square()
        torch.testing.assert_close(norm, -torch.ones(20, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_a_product_is_the_hypotenuse_of_its_halves(d: int):
    z, w, half = tangents(6, d), tangents(5, d, seed=1), (d + 1) // 2
    x, y = (points_from_tangents(t, "product") for t in (z, w))
    curved = Lorentz().dist(
        points_from_tangents(z[:, :half], "hyperbolic")[:, None], points_from_tangents(w[:, :half], "hyperbolic")
    )
    flat = (z[:, None, half:] - w[:, half:]).norm(dim=-1)
    torch.testing.assert_close(exact_distance(x[:, None], y, "product"), torch.hypot(curved, flat))
    torch.testing.assert_close(pairwise_distance(x, y, "product"), torch.hypot(curved, flat), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("geometry", METRICS)
@given(seed=st.integers(0, 10**6), radius=st.floats(1e-3, 20))
def test_metric_axioms(geometry, seed: int, radius: float):
    points = points_from_tangents(tangents(3, 3, radius=radius, seed=seed), geometry)
    table = exact_distance(points[:, None], points, geometry)
    torch.testing.assert_close(table, table.T, rtol=1e-13, atol=0)
    ab, bc, ac = table[0, 1], table[1, 2], table[0, 2]
    assert float(ac) <= float(ab + bc) * (1 + 1e-12)
    assert float(table.diagonal().max()) == 0
    assert float(torch.stack([ab, bc, ac]).min()) > 0


# Gradients


def through(distance, geometry):
    return lambda x, y: distance(points_from_tangents(x, geometry), points_from_tangents(y, geometry), geometry)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients(geometry):
    radius = 1.2 if geometry == "spherical" else 3.0
    x, y = (tangents(n, 3, radius=radius, seed=s).requires_grad_() for n, s in ((4, 0), (5, 1)))
    assert torch.autograd.gradcheck(through(pairwise_distance, geometry), (x, y))
    assert torch.autograd.gradcheck(through(rowwise_distance, geometry), (x, y[:4].detach().requires_grad_()))
    a, b = (points_from_tangents(z.detach(), geometry).requires_grad_() for z in (x, y))
    assert torch.autograd.gradcheck(lambda p, q: pairwise_distance(p, q, geometry), (a, b))
    weight = torch.rand(4, 5, dtype=torch.float64)
    found = torch.autograd.grad((weight * through(pairwise_distance, geometry)(x, y)).sum(), (x, y))
    expected = torch.autograd.grad((weight * plain_distance(x, y, geometry)).sum(), (x, y))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_gradient_of_hyperbolic_distances_against_mpmath():
    z, w = tangents(1, 3, radius=6.0)[0], tangents(1, 3, radius=6.0, seed=1)[0]
    x = points_from_tangents(z[None], "hyperbolic")[0, 1:].requires_grad_()
    y = points_from_tangents(w[None], "hyperbolic")
    full = torch.cat([(1 + x.square().sum()).sqrt()[None], x])
    (found,) = torch.autograd.grad(pairwise_distance(full[None], y, "hyperbolic").sum(), x)
    with mpmath.workdps(60):
        other = [mpmath.mpf(v) for v in y[0, 1:].tolist()]
        for i in range(3):

            def along(value, i=i):
                moved = [mpmath.mpf(v) for v in x.tolist()]
                moved[i] = value
                times = mpmath.sqrt(1 + sum(v * v for v in moved)) * mpmath.sqrt(1 + sum(v * v for v in other))
                return mpmath.acosh(times - sum(v * u for v, u in zip(moved, other, strict=True)))

            assert float(found[i]) == pytest.approx(float(mpmath.diff(along, mpmath.mpf(x.tolist()[i]))), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("distance", [pairwise_distance, rowwise_distance])
@pytest.mark.parametrize("geometry", METRICS)
def test_coincident_points_are_near_and_their_gradients_finite_and_small(geometry, distance, dtype: torch.dtype):
    z = torch.cat([torch.zeros(1, 3, dtype=dtype), tangents(3, 3, dtype=dtype)]).requires_grad_()
    points = points_from_tangents(z, geometry)
    found = distance(points, points.detach(), geometry)
    found = found.diagonal() if distance is pairwise_distance else found
    assert float(found.detach().min()) >= 0
    assert float(found.detach().max()) <= 20 * math.exp(3) * math.sqrt(torch.finfo(dtype).eps)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().max()) <= 2  # a distance is 1-Lipschitz; rounding may leave any such slope here


def test_opposite_poles_of_the_sphere():
    z = torch.tensor([[0.0, 0.0], [math.pi, 0.0]], dtype=torch.float64)
    points = points_from_tangents(z, "spherical").requires_grad_()
    assert float(exact_distance(*points.detach(), "spherical")) == pytest.approx(math.pi, abs=1e-15)
    found = pairwise_distance(points, points, "spherical")
    found.sum().backward()
    assert float(found[0, 1].detach()) == pytest.approx(math.pi, abs=1e-7)
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_no_points(geometry):
    x, none = points_from_tangents(tangents(3, 2), geometry), points_from_tangents(tangents(3, 2)[:0], geometry)
    assert pairwise_distance(x, none, geometry).shape == (3, 0)
    assert pairwise_distance(none, x, geometry).shape == (0, 3)
    assert rowwise_distance(none, none, geometry).shape == (0,)
    assert exact_distance(none, none, geometry).shape == (0,)


@pytest.mark.parametrize("geometry", ["Hyperbolic", "", "lorentz", None, 3, ["hyperbolic"]])
def test_there_are_no_other_geometries(geometry, unchecked):
    with pytest.raises(ValueError, match="^geometry: expected one of 'hyperbolic', .*, got "):
        require_geometry(geometry)


@pytest.mark.parametrize("radius", [0.5, 5.0, 9.0, 14.0, 25.0, 60.0])
def test_all_distances_are_good_at_any_radius(radius: float):
    near = tangents(6, 3, radius=radius)
    z = torch.cat([near, near + 1e-6, tangents(6, 3, seed=1), torch.zeros(1, 3, dtype=torch.float64)])
    for geometry in ("hyperbolic", "product"):
        points = points_from_tangents(z, geometry)
        true = exact_distance(points[:, None], points, geometry)
        torch.testing.assert_close(accurate_pairwise(points, points, geometry), true, rtol=3e-7, atol=1e-7)
