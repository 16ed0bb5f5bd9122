"""The Stiefel manifold's exponential and logarithm against SciPy, and where the logarithm may be refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from cases import DTYPES, frames, randn, rotation
from geoopt.manifolds.stiefel import EuclideanStiefel
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.linalg import polar
from hyperspectral_geo.manifolds import Stiefel

SHAPES = [(5, 2), (4, 1), (3, 3), (12, 4), (2, 1)]


def tangent(x: Tensor, seed: int, length: float) -> Tensor:
    u = Stiefel().proju(x, randn(*x.shape, seed=seed, dtype=x.dtype))
    return u / torch.linalg.matrix_norm(u, keepdim=True) * length


@pytest.mark.parametrize(("n", "p"), SHAPES)
@given(seed=st.integers(0, 10_000), length=st.floats(1e-6, 4.0))
def test_exp_is_the_geodesic_of_edelman_arias_smith(n, p, seed, length):
    """X(t) = [X U] exp t[[A, −S], [I, A]] [exp(−tA); 0] with A = XᵀU and S = UᵀU, by SciPy's expm."""
    x = frames(n, p, seed=seed)
    u = tangent(x, seed + 1, length)
    a, s = (x.mT @ u).numpy(), (u.mT @ u).numpy()
    block = scipy.linalg.expm(np.block([[a, -s], [np.eye(p), a]]))
    expected = np.hstack([x, u]) @ block[:, :p] @ scipy.linalg.expm(-a)
    np.testing.assert_allclose(Stiefel().expmap(x, u), expected, rtol=0, atol=2e-13)


@pytest.mark.parametrize("length", np.geomspace(1e-4, 1.0, 25))
def test_exp_of_one_item_is_as_good_as_that_of_many(length):
    """``torch.matrix_exp`` of one matrix is off by 1e-10 where its norm is a little below 0.05."""
    x = frames(5, 2, seed=1)
    u = tangent(x, 2, float(length))
    one, many = Stiefel().expmap(x, u), Stiefel().expmap(x.expand(3, 5, 2), u.expand(3, 5, 2))[1]
    torch.testing.assert_close(one, many, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "p"), SHAPES)
@given(seed=st.integers(0, 10_000), length=st.floats(1e-8, 1.5))
def test_log_comes_back(n, p, dtype, seed, length):
    manifold = Stiefel()
    x = frames(3, n, p, seed=seed, dtype=dtype)
    u = tangent(x, seed + 1, length)
    eps = torch.finfo(dtype).eps
    found = manifold.logmap(x, manifold.expmap(x, u))
    torch.testing.assert_close(found, u, rtol=0, atol=500 * eps)
    torch.testing.assert_close(
        manifold.dist(x, manifold.expmap(x, u)), torch.linalg.matrix_norm(u), rtol=0, atol=200 * eps
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [1.7, 2.5, 3.0])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_on_a_sphere_it_is_the_angle_almost_to_the_other_pole(n, length, dtype):
    manifold = Stiefel()
    x = frames(20, n, 1, seed=1, dtype=dtype)
    y = manifold.expmap(x, tangent(x, 2, length))
    angles = torch.acos((x * y).sum((-1, -2)).double())
    torch.testing.assert_close(manifold.dist(x, y).double(), angles, rtol=0, atol=100 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("length", [1.0, 2.0, 3.0])
def test_on_rotations_it_is_the_matrix_logarithm(length):
    x = rotation(3, 1)
    y = Stiefel().expmap(x, tangent(x, 2, length))
    expected = x.numpy() @ scipy.linalg.logm(x.mT.numpy() @ y.numpy()).real
    np.testing.assert_allclose(Stiefel().logmap(x, y), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_found_is_refused_not_invented(dtype):
    manifold = Stiefel()
    identity = torch.eye(3, dtype=dtype)
    mirror = identity.clone()
    mirror[0, 0] = -1
    with pytest.raises(ValueError, match=r"injectivity radius.*smaller steps"):
        manifold.logmap(identity, mirror)
    with pytest.raises(ValueError, match="injectivity radius"):
        manifold.dist(rotation(3, 1, dtype), rotation(3, 1, dtype) @ mirror)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [2.0, 2.8])
def test_every_log_that_is_returned_leads_to_its_target(length, dtype):
    manifold = Stiefel()
    refused = 0
    for seed in range(20):
        x = frames(6, 2, seed=seed, dtype=dtype)
        y = manifold.expmap(x, tangent(x, seed + 1, length))
        try:
            u = manifold.logmap(x, y)
        except ValueError:
            refused += 1
            continue
        assert torch.linalg.matrix_norm(manifold.expmap(x, u) - y) <= (1e-3 if dtype == torch.float32 else 1e-8)
        assert torch.linalg.matrix_norm(u) <= length * (1 + 1e-3)
    assert refused < 20


def test_points_that_are_orthonormal_in_float32_only_are_still_taken():
    manifold = Stiefel()
    x = frames(6, 2, seed=1, dtype=torch.float32)
    y = manifold.expmap(x, tangent(x, 2, 0.7))
    assert manifold.dist(x.double(), y.double()).item() == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("length", [0.0, 1e-9, 0.5, 1.2])
@pytest.mark.parametrize(("n", "p"), [(4, 2), (3, 1), (3, 3)])
def test_gradients_of_log(n, p, length):
    x = frames(n, p, seed=1)
    y = Stiefel().expmap(x, tangent(x, 2, length)) if length else x.clone()

    def log(a: Tensor, b: Tensor) -> Tensor:
        return Stiefel().logmap(polar(a), polar(b))

    assert torch.autograd.gradcheck(log, (x.requires_grad_(), y.requires_grad_()), atol=1e-6)


def test_gradients_of_dist_and_exp():
    x = frames(4, 2, seed=1)
    u = tangent(x, 2, 0.9).requires_grad_()
    y = Stiefel().expmap(x, u.detach())
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: Stiefel().dist(polar(a), y), (x,), atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda a, b: Stiefel().expmap(polar(a), Stiefel().proju(polar(a), b)), (x, u), atol=1e-6
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp_is_orthonormal(dtype):
    x = frames(4, 100, 8, seed=1, dtype=dtype)
    for length in (1e-3, 1.0, 8.0):
        y = Stiefel().expmap(x, tangent(x, 2, length)).double()
        error = torch.linalg.matrix_norm(y.mT @ y - torch.eye(8, dtype=torch.float64)).max()
        assert error <= (1e-6 if dtype == torch.float32 else 1e-14) * math.sqrt(8)


def test_columns_matter():
    x = frames(5, 2, seed=1)
    assert Stiefel().dist(x, x @ torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)) > 0.5


def test_can_stand_in_for_geoopts():
    ours, theirs = Stiefel(), EuclideanStiefel()
    assert isinstance(ours, EuclideanStiefel)
    x = frames(6, 3, seed=1)
    u = tangent(x, 2, 0.8)
    torch.testing.assert_close(ours.retr(x, u), theirs.retr(x, u))
    torch.testing.assert_close(ours.expmap(x, u), theirs.expmap(x, u), rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.expmap(x[None], u.expand(4, 6, 3))[2], ours.expmap(x, u), rtol=0, atol=1e-14)
    torch.testing.assert_close(ours.expmap(x.expand(4, 6, 3), u)[2], ours.expmap(x, u), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("n", "p", "length"), [(3, 2, 2.8), (3, 2, 3.1), (5, 2, 2.8), (4, 4, 3.1)])
def test_no_geodesic_that_winds_around_is_taken_for_the_shortest(n, p, length):
    """Far apart, the logarithm is found and no longer than the geodesic that led there, or it is refused."""
    found = 0
    for seed in range(40):
        x = frames(n, p, seed=seed)
        y = Stiefel().expmap(x, tangent(x, seed + 100, length))
        try:
            u = Stiefel().logmap(x, y)
        except ValueError:
            continue
        found += 1
        assert u.norm() <= math.pi + 1e-6
    assert found > 0


def test_inherited_maps_refuse_what_is_no_frame(unchecked):
    eye = torch.eye(4, 2, dtype=torch.float64)
    for call, message in (
        (lambda: Stiefel().projx(torch.ones(4, 2, dtype=torch.int64)), "floating-point"),
        (lambda: Stiefel().projx(torch.full((4, 2), torch.nan)), "finite"),
        (lambda: Stiefel().projx(torch.ones(2, 6)), "n >= p"),
        (lambda: Stiefel().proju(eye, eye.float()), "dtype"),
        (lambda: Stiefel().retr(2 * eye, eye), "orthonormal"),
        (lambda: Stiefel().expmap(2 * eye, 0 * eye), "orthonormal"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
