"""Hyperbolic distances and maps against mpmath, on the very numbers that the functions are given."""

from __future__ import annotations

import math

import geoopt
import mpmath as mp
import pytest
import torch
from cases import DTYPES, plain, randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.manifolds import Lorentz

mp.mp.dps = 80
APART = 1.7627
ULP = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def numbers(x: Tensor) -> list[mp.mpf]:
    """The space-like part, as exact numbers."""
    return [mp.mpf(v) for v in plain(x).double().tolist()[1:]]


def dot(a: list[mp.mpf], b: list[mp.mpf]) -> mp.mpf:
    return mp.fsum(p * q for p, q in zip(a, b, strict=True))


def exact_distance(x: Tensor, y: Tensor, k: float = 1.0) -> mp.mpf:
    a, b = numbers(x), numbers(y)
    k = mp.mpf(k)
    cosh = (mp.sqrt(k + dot(a, a)) * mp.sqrt(k + dot(b, b)) - dot(a, b)) / k
    distance = mp.sqrt(k) * mp.acosh(mp.mpf(1) if cosh < 1 else cosh)
    return distance if distance > mp.mpf(10) ** -30 else mp.mpf(0)  # below is the rounding of these 80 digits


def exact_gradient(x: Tensor, y: Tensor, k: float = 1.0) -> list[mp.mpf]:
    """Derivative of the distance by the space-like part of x."""
    a, b = numbers(x), numbers(y)
    k = mp.mpf(k)
    ta, tb = mp.sqrt(k + dot(a, a)), mp.sqrt(k + dot(b, b))
    cosh = (ta * tb - dot(a, b)) / k
    return [(p * tb / ta - q) / (mp.sqrt(k) * mp.sqrt(cosh**2 - 1)) for p, q in zip(a, b, strict=True)]


def pair_at(radius: float, dtype: torch.dtype, seed: int, d: int = 4, apart: float = APART) -> tuple[Tensor, Tensor]:
    """Two points ``apart`` from each other, the first at ``radius``, in a random direction, rounded to ``dtype``."""
    e = [mp.mpf(v) for v in randn(d, seed=seed).tolist()]
    f = [mp.mpf(v) for v in randn(d, seed=seed + 1000).tolist()]
    norm = mp.sqrt(dot(e, e))
    e = [v / norm for v in e]
    f = [q - dot(e, f) * p for p, q in zip(e, f, strict=True)]
    norm = mp.sqrt(dot(f, f))
    f = [v / norm for v in f]
    angle = mp.mpf(2 * math.pi * (seed % 97) / 97)
    r, s = mp.mpf(radius), mp.mpf(apart)
    x = [mp.sinh(r) * v for v in e]
    # y = x cosh s + u sinh s with the unit tangent u = cos(angle) ∂_r + sin(angle) f
    y = [
        v * mp.cosh(s) + mp.sinh(s) * (mp.cos(angle) * mp.cosh(r) * p + mp.sin(angle) * q)
        for v, p, q in zip(x, e, f, strict=True)
    ]

    def point(space: list[mp.mpf]) -> Tensor:
        values = [mp.sqrt(1 + dot(space, space)), *space]
        return torch.tensor([float(v) for v in values], dtype=torch.float64).to(dtype)

    return point(x), point(y)


SINGLE, DOUBLE = (0, 0.1, 1, 2, 4, 6, 8, 10, 12, 15, 18), (0, 0.1, 1, 4, 8, 12, 15, 18, 22, 25)
CASES = [(torch.float32, r) for r in SINGLE] + [(torch.float64, r) for r in DOUBLE]


@pytest.mark.parametrize(("dtype", "radius"), CASES, ids=str)
def test_distance_is_right_at_any_radius(dtype, radius):
    manifold = Lorentz()
    for seed in range(8):
        x, y = pair_at(radius, dtype, seed)
        exact = exact_distance(x, y)
        for found in (manifold.dist(x, y), manifold.dist(y, x)):
            assert found.dtype == dtype
            error = abs(mp.mpf(found.item()) - exact) / exact
            assert error <= (1e-14 if dtype == torch.float64 else 2 * ULP[dtype])


@pytest.mark.parametrize(("dtype", "radius"), CASES, ids=str)
def test_gradient_is_right_at_any_radius(dtype, radius):
    manifold = Lorentz()
    for seed in range(4):
        x, y = (t.requires_grad_() for t in pair_at(radius, dtype, seed))
        manifold.dist(x, y).backward()
        for a, b in ((x, y), (y, x)):
            exact = exact_gradient(a, b)
            size = mp.sqrt(dot(exact, exact))
            found = [mp.mpf(v) for v in a.grad.double().tolist()]
            assert found[0] == 0
            error = mp.sqrt(mp.fsum((p - q) ** 2 for p, q in zip(found[1:], exact, strict=True)))
            assert error <= size * (1e-3 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("radius", [0.0, 1e-20, 1e-3, 1.0, 8.0, 18.0, 40.0])
def test_a_point_is_at_no_distance_from_itself(radius, dtype):
    manifold = Lorentz()
    for seed in range(20):
        u = randn(5, seed=seed, dtype=dtype)
        u[0] = 0
        x = plain(manifold.expmap0(u / u.norm() * radius)).requires_grad_()
        y = plain(x).requires_grad_()
        for d in (manifold.dist(x, y), manifold.dist(x, x)):
            assert d.item() == 0.0
        manifold.dist(x, y).backward()
        assert (x.grad == 0).all()
        assert (y.grad == 0).all()
        assert (manifold.logmap(x, y) == 0).all()


@pytest.mark.parametrize("radius", [0.0, 0.5, 3.0, 10.0])
@pytest.mark.parametrize("apart", [1e-12, 1e-9, 1e-6, 1e-3])
def test_almost_coincident_points(radius, apart):
    manifold = Lorentz()
    for seed in range(4):
        x, y = (t.requires_grad_() for t in pair_at(radius, torch.float64, seed, apart=apart))
        exact = exact_distance(x, y)
        found = manifold.dist(x, y)
        if exact == 0:
            assert found.item() == 0
            continue
        assert abs(mp.mpf(found.item()) - exact) <= exact * 1e-13
        found.backward()
        exact = exact_gradient(x, y)
        error = max(abs(mp.mpf(p) - q) for p, q in zip(x.grad.tolist()[1:], exact, strict=True))
        assert error <= 1e-3 * mp.sqrt(dot(exact, exact))


# 1 + d²/2 has to be more than 1 in the digits of the exact distance
RADII = st.just(0.0) | st.floats(1e-20, 12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(seed=st.integers(0, 10_000), a=RADII, b=RADII, d=st.integers(1, 6))
def test_distance_between_any_two_points(dtype, seed, a, b, d):
    manifold = Lorentz()
    directions = randn(2, d + 1, seed=seed, dtype=dtype)
    directions[:, 0] = 0
    directions = directions / directions.norm(dim=-1, keepdim=True)
    x, y = manifold.expmap0(directions * torch.tensor([[a], [b]], dtype=dtype))
    exact = exact_distance(x, y)
    assert abs(mp.mpf(manifold.dist(x, y).item()) - exact) <= exact * (1e-13 if dtype == torch.float64 else 2.0**-23)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("radius", [0.0, 1e-30, 1e-12, 1e-3, 0.1, 0.9, 1.1, 5.0, 18.0, 40.0, 60.0, 85.0])
def test_maps_at_the_origin(radius, dtype):
    """The float32 coordinates of radius 85 are 4e36; their squares overflow."""
    manifold = Lorentz()
    u = torch.tensor([0.0, 0.6, 0.0, -0.8], dtype=dtype) * radius
    x = manifold.expmap0(u)
    exact = [mp.sinh(mp.mpf(1)) * 0] * 3
    length = mp.sqrt(dot(numbers(u), numbers(u)))
    if length:
        exact = [v * mp.sinh(length) / length for v in numbers(u)]
    for found, expected in zip(numbers(x), exact, strict=True):
        assert abs(found - expected) <= abs(expected) * 8 * ULP[dtype] * (1 + radius / 8)
    space = numbers(x)
    assert abs(mp.mpf(x[0].item()) / mp.sqrt(1 + dot(space, space)) - 1) <= 4 * ULP[dtype]
    far = mp.asinh(mp.sqrt(dot(space, space)))
    assert abs(mp.mpf(manifold.dist0(x).item()) - far) <= far * 4 * ULP[dtype]
    torch.testing.assert_close(manifold.logmap0(x), u, rtol=8 * ULP[dtype], atol=0)
    torch.testing.assert_close(manifold.dist(x, manifold.origin(4).to(dtype)), manifold.dist0(x), rtol=1e-6, atol=0)


def test_float64_holds_to_a_radius_of_350():
    manifold = Lorentz()
    u = torch.tensor([[0.0, 350.0, 0.0], [0.0, 0.0, 349.0]], dtype=torch.float64, requires_grad=True)
    x = manifold.expmap0(u)
    assert manifold.dist(x[0], -x[0]).item() == pytest.approx(700, rel=1e-14)
    exact = exact_distance(x[0], x[1])
    d = manifold.dist(x[0], x[1])
    assert float(abs(mp.mpf(d.item()) - exact)) <= 1e-13 * d.item()
    d.backward()
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize("function", ["expmap0", "logmap0", "dist0"])
@pytest.mark.parametrize("radius", [0.0, 1e-8, 0.05, 0.5, 1.0 - 1e-9, 1.0, 3.0])
def test_gradients_of_maps_at_the_origin(function, radius):
    manifold = Lorentz(torch.tensor(1.5, dtype=torch.float64))
    u = (torch.tensor([0.0, 0.6, -0.8], dtype=torch.float64) * radius).requires_grad_()
    if function == "dist0" and radius < 1e-3:
        manifold.dist0(u).backward()  # not differentiable at 0: finite is what can be asked for
        assert torch.isfinite(u.grad).all()
        return
    assert torch.autograd.gradcheck(getattr(manifold, function), u)


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.95, 1.0, 1.05, 4.0])
@pytest.mark.parametrize("apart", [0.0, 1e-6, 0.5, 2.0])
def test_gradients_of_exp_log_and_transport(radius, apart):
    manifold = Lorentz(torch.tensor(1.0, dtype=torch.float64))
    x, y = pair_at(radius, torch.float64, 5, d=3, apart=apart or 0.1)
    y = y if apart else x.clone()
    v = manifold.proju(x, randn(4, seed=3))

    def of_space(function):  # points and tangents are given by their space-like parts
        def lifted(*parts: Tensor) -> Tensor:
            return function(*(torch.cat([p.new_zeros(1), p]) for p in parts))[..., 1:]

        return lifted

    leaves = [t[1:].clone().requires_grad_() for t in (x, y, v)]
    options = {"atol": 1e-4, "rtol": 1e-4, "eps": 1e-6 * math.exp(radius / 2)}
    assert torch.autograd.gradcheck(of_space(manifold.logmap), leaves[:2], **options)
    assert torch.autograd.gradcheck(of_space(manifold.expmap), (leaves[0], leaves[2]), **options)
    assert torch.autograd.gradcheck(of_space(manifold.transp), leaves, **options)


@pytest.mark.parametrize(
    ("dtype", "radius"), [c for c in CASES if c[1] <= (8 if c[0] == torch.float32 else 18)], ids=str
)
def test_log_has_the_length_of_the_distance(dtype, radius):
    """As far as the rounding of the tangent's own entries, which grow like eʳ, lets it be told."""
    manifold = Lorentz()
    for seed in range(5):
        x, y = pair_at(radius, dtype, seed)
        u = manifold.logmap(x, y)
        tolerance = 8 * ULP[dtype] * math.exp(radius)
        assert manifold.inner(x, u).sqrt().item() == pytest.approx(manifold.dist(x, y).item(), rel=tolerance)


# A drop-in for geoopt's


@pytest.mark.parametrize("k", [1.0, 0.3, 4.0])
@given(seed=st.integers(0, 10_000))
def test_same_numbers_as_geoopt_at_small_radius(k, seed):
    ours, theirs = (cls(torch.tensor(k, dtype=torch.float64)) for cls in (Lorentz, geoopt.Lorentz))
    u = randn(3, 4, seed=seed) * 0.7
    u[:, 0] = 0
    x, y = ours.expmap0(u), ours.expmap0(u.flip(0) * 0.8 + 0.1 * (u != 0))
    v = ours.proju(x, randn(3, 4, seed=seed + 1))
    x0, y0 = theirs.expmap0(u), theirs.expmap0(u.flip(0) * 0.8 + 0.1 * (u != 0))
    close = {"rtol": 1e-6, "atol": 1e-6}  # geoopt adds 1e-8 here and there
    torch.testing.assert_close(x, x0, **close)
    torch.testing.assert_close(ours.dist(x, y), theirs.dist(x0, y0), **close)
    torch.testing.assert_close(ours.dist0(x), theirs.dist0(x0), **close)
    torch.testing.assert_close(ours.logmap0(x), theirs.logmap0(x0), **close)
    torch.testing.assert_close(ours.logmap(x, y), theirs.logmap(x0, y0), **close)
    torch.testing.assert_close(ours.expmap(x, v), theirs.expmap(x0, v), **close)
    torch.testing.assert_close(ours.transp(x, y, v), theirs.transp(x0, y0, v), **close)
    torch.testing.assert_close(ours.inner(x, v, v), theirs.inner(x0, v, v), **close)
    torch.testing.assert_close(ours.projx(x), theirs.projx(x0), **close)


def test_curvature_can_be_learned():
    manifold = Lorentz(torch.tensor(2.0, dtype=torch.float64), learnable=True)
    u = randn(5, 4, seed=1)
    u[:, 0] = 0

    def spread(k: Tensor) -> Tensor:
        other = Lorentz(2.0)
        del other.k
        other.k = k
        x = other.expmap0(u)
        return torch.stack([other.dist(x[:-1], x[1:]).sum(), other.dist0(x * 1.1).sum(), other.logmap0(x).sum()])

    assert torch.autograd.gradcheck(spread, torch.tensor(2.0, dtype=torch.float64, requires_grad=True))
    x = manifold.expmap0(u)
    manifold.dist(x[:-1], x[1:]).sum().backward()
    assert manifold.k.grad.abs() > 0
    assert manifold.k.shape == ()


@pytest.mark.parametrize("k", [3.0, torch.tensor(3), torch.tensor(3.0), torch.tensor([3.0]), torch.tensor([[3.0]])])
def test_curvature_is_one_number_in_any_form(k):
    x = Lorentz(k).expmap0(torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(x, Lorentz(3.0).expmap0(torch.tensor([0.0, 1.0, 2.0])))


@pytest.mark.parametrize("k", [0.25, 4.0, 100.0])
def test_curvature_only_rescales(k):
    root = math.sqrt(k)
    u, v = randn(2, 4, seed=3)
    u[0] = v[0] = 0
    unit, scaled = Lorentz(), Lorentz(k)
    x, y = unit.expmap0(u), unit.expmap0(v)
    torch.testing.assert_close(scaled.expmap0(u * root), x * root)
    torch.testing.assert_close(scaled.dist(x * root, y * root), unit.dist(x, y) * root)
    torch.testing.assert_close(scaled.logmap(x * root, y * root), unit.logmap(x, y) * root)


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_coordinates_along_another_dimension(dim):
    manifold = Lorentz()
    x = manifold.expmap0(randn(3, 2, 4, seed=1) * torch.tensor([0.0, 1, 1, 1]))
    y = manifold.expmap0(randn(3, 2, 4, seed=2) * torch.tensor([0.0, 1, 1, 1]))
    v = manifold.proju(x, randn(3, 2, 4, seed=3))
    a, b, c = (t.movedim(-1, dim) for t in (x, y, v))
    torch.testing.assert_close(manifold.dist(a, b, dim=dim), manifold.dist(x, y))
    torch.testing.assert_close(manifold.dist0(a, dim=dim), manifold.dist0(x))
    torch.testing.assert_close(manifold.inner(a, c, dim=dim), manifold.inner(x, v))
    for name, moved, plain_ in (
        ("expmap0", (c,), (v,)),
        ("logmap0", (a,), (x,)),
        ("projx", (a,), (x,)),
        ("expmap", (a, c), (x, v)),
        ("logmap", (a, b), (x, y)),
        ("transp", (a, b, c), (x, y, v)),
    ):
        function = getattr(manifold, name)
        torch.testing.assert_close(function(*moved, dim=dim), function(*plain_).movedim(-1, dim))
    shape = list(a.shape)
    shape[dim] = 1
    for kept in (manifold.dist(a, b, dim=dim, keepdim=True), manifold.dist0(a, dim=dim, keepdim=True)):
        assert list(kept.shape) == shape


def test_checks_hold_in_any_dtype_and_refuse_the_wrong_sheet():
    manifold = Lorentz()
    for dtype in DTYPES:
        x = manifold.expmap0(torch.tensor([0.0, 10.0, -3.0], dtype=dtype))
        assert manifold.check_point_on_manifold(x)
        assert manifold.check_vector_on_tangent(x, manifold.proju(x, randn(3, seed=1, dtype=dtype)), atol=1e-2)
        assert not manifold.check_point_on_manifold(-x)


def test_lists_of_half_precision_are_computed_in_double():
    x = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float16)
    assert Lorentz().dist0(x).item() == pytest.approx(math.asinh(math.sqrt(5)), rel=1e-3)
    assert Lorentz().dist(x, x).item() == 0


@pytest.mark.parametrize("k", [2.0, 0.3])
@pytest.mark.parametrize(("dtype", "radius"), [(torch.float32, 12), (torch.float32, 18), (torch.float64, 25)], ids=str)
def test_distance_at_curvatures_whose_root_is_not_exact(k, dtype, radius):
    """Coordinates divided by √k would be rounded anew: at r = 18 in float32 that moves points by their distance."""
    manifold = Lorentz(k)
    for seed in range(5):
        x, y = (math.sqrt(k) * v for v in pair_at(radius, torch.float64, seed))
        x, y = x.to(dtype), y.to(dtype)
        true = exact_distance(x, y, k)
        x.requires_grad_()
        distance = manifold.dist(x, y)
        distance.backward()
        assert abs(distance.item() / true - 1) <= 8 * ULP[dtype]
        gradient = exact_gradient(x.detach(), y, k)
        scale = mp.sqrt(dot(gradient, gradient))
        error = mp.sqrt(mp.fsum((mp.mpf(a) - b) ** 2 for a, b in zip(x.grad[1:].tolist(), gradient, strict=True)))
        assert error <= 16 * ULP[dtype] * scale


@pytest.mark.parametrize(("dtype", "radius"), [(torch.float32, 80), (torch.float64, 60), (torch.float64, 100)], ids=str)
def test_distance_at_the_ends_of_the_valid_range(dtype, radius):
    with mp.workdps(200):
        for seed in range(4):
            x, y = pair_at(radius, dtype, seed)
            true = exact_distance(x, y)
            assert abs(Lorentz().dist(x, y).item() / true - 1) <= 8 * ULP[dtype]


def test_curvature_takes_gradients():
    def distance(root: Tensor) -> Tensor:
        manifold = Lorentz(1.0)
        del manifold.k
        manifold.k = root.square()
        return manifold.dist(x, y)

    x, y = randn(5, 4, seed=1), randn(5, 4, seed=2)
    assert torch.autograd.gradcheck(distance, (torch.tensor(1.3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("radius", [0.0, 3.0, 10.0])  # beyond, float32 tangents are rounded by more than their norm
def test_transport_from_and_to_the_origin_and_norm_at_large_radius(radius):
    manifold = Lorentz()
    direction = randn(4, seed=3)
    direction = torch.cat([torch.zeros(1, dtype=torch.float64), direction / direction.norm() * radius]).float()
    y = manifold.expmap0(direction)
    u = torch.cat([torch.zeros(1), randn(4, seed=4).float()])
    there = manifold.transp0(y, u)
    assert manifold.norm(y, there).item() == pytest.approx(u.norm().item(), rel=1e-3)
    if radius <= 3:
        torch.testing.assert_close(manifold.transp0back(y, there), u, rtol=0, atol=1e-4)


def test_random_points_alone_and_in_a_product():
    manifold = Lorentz(2.0)
    assert manifold.check_point(manifold.random(7, 5))
    assert manifold.check_point(manifold.origin(3, 5, dtype=torch.float64))
    product = geoopt.ProductManifold((manifold, 4), (geoopt.Sphere(), 3))
    assert product.check_point(product.random(7))
