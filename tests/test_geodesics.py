"""Grassmann geodesics against pymanopt and the matrix exponential, and their gradients where others give NaN."""

from __future__ import annotations

import math

import numpy as np
import pymanopt
import pytest
import scipy.linalg
import torch
from cases import DTYPES, frames, projector, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.linalg import polar
from hyperspectral_geo.manifolds import Grassmann, grassmann_exp, grassmann_log, grassmann_transport, principal_angles

SHAPES = [(5, 2), (4, 1), (3, 3), (12, 4), (6, 5)]


def horizontal(x: Tensor, a: Tensor) -> Tensor:
    return a - x @ (x.mT @ a)


def tangent(x: Tensor, seed: int, length: float) -> Tensor:
    u = horizontal(x, randn(*x.shape, seed=seed, dtype=x.dtype))
    norm = torch.linalg.matrix_norm(u, keepdim=True)
    return torch.where(norm > 1e-6, u * length / norm.clamp_min(1e-6), 0)


def with_singular_values(values: list[float], n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A point and a tangent there with the given singular values."""
    p = len(values)
    q = rotation(n, seed)
    u = (q[:, p : 2 * p] * torch.tensor(values, dtype=torch.float64)) @ rotation(p, seed + 1).mT
    return q[:, :p] @ rotation(p, seed + 2), u


# Against other libraries


@pytest.mark.parametrize("n, p", SHAPES)
@given(seed=st.integers(0, 10_000), length=st.floats(1e-6, 5.0))
def test_exp_agrees_with_pymanopt(n, p, seed, length):
    x = frames(n, p, seed=seed)
    u = tangent(x, seed + 1, length)
    expected = pymanopt.manifolds.Grassmann(n, p).exp(x.numpy(), u.numpy())
    np.testing.assert_allclose(projector(grassmann_exp(x, u)), expected @ expected.T, rtol=0, atol=2e-14)


@pytest.mark.parametrize("n, p", SHAPES)
@given(seed=st.integers(0, 10_000))
def test_log_agrees_with_pymanopt(n, p, seed):
    x = frames(n, p, seed=seed)
    y = grassmann_exp(x, tangent(x, seed + 1, 1.3)) @ rotation(p, seed + 2)
    expected = pymanopt.manifolds.Grassmann(n, p).log(x.numpy(), y.numpy())
    np.testing.assert_allclose(grassmann_log(x, y), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n, p", SHAPES)
@given(seed=st.integers(0, 10_000), length=st.floats(0, 5.0))
def test_exp_and_transport_are_one_rotation_of_the_space(n, p, seed, length):
    """exp(UXᵀ − XUᵀ) turns X along the geodesic and carries tangents with it."""
    x = frames(n, p, seed=seed)
    u, v = tangent(x, seed + 1, length), tangent(x, seed + 2, 1.0)
    turn = scipy.linalg.expm((u @ x.mT - x @ u.mT).numpy())
    np.testing.assert_allclose(grassmann_exp(x, u), turn @ x.numpy(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(grassmann_transport(x, u, v), turn @ v.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n, p", [(8, 2), (8, 4)])
@given(seed=st.integers(0, 10_000), length=st.floats(1e-8, 1.5))
def test_log_is_as_long_as_the_angles_say(n, p, seed, length):
    x = frames(n, p, seed=seed)
    y = grassmann_exp(x, tangent(x, seed + 1, length)) @ rotation(p, seed + 2)
    u = grassmann_log(x, y)
    np.testing.assert_allclose(
        torch.linalg.svdvals(u).flip(-1), principal_angles(x, y), rtol=0, atol=1e-14 + 1e-14 * length
    )


@pytest.mark.parametrize("length", [1e-12, 1e-9, 1e-6, 1e-3])
def test_small_tangents_come_back_to_their_last_digits(length):
    x = frames(9, 3, seed=1)
    u = tangent(x, 2, length)
    error = torch.linalg.matrix_norm(grassmann_log(x, grassmann_exp(x, u)) - u)
    assert error <= 1e-14  # what the rounding of the point itself leaves


# Orthonormality and long geodesics


@pytest.mark.parametrize("n, p", [(50, 1), (50, 7), (300, 32), (768, 16)])
@pytest.mark.parametrize("length", [1e-3, 1.0, 10.0])
def test_float32_exp_is_orthonormal(n, p, length):
    x = frames(4, n, p, seed=1, dtype=torch.float32)
    y = grassmann_exp(x, tangent(x, 2, length)).double()
    error = torch.linalg.matrix_norm(y.mT @ y - torch.eye(p, dtype=torch.float64)).max()
    assert error <= 1e-6 * math.sqrt(p)


def test_a_thousand_float32_steps_do_not_drift():
    x = frames(20, 3, seed=1, dtype=torch.float32)
    for i in range(1000):
        x = grassmann_exp(x, horizontal(x, 0.1 * randn(20, 3, seed=i, dtype=torch.float32)))
    error = torch.linalg.matrix_norm(x.double().mT @ x.double() - torch.eye(3, dtype=torch.float64))
    assert error <= 1e-6 * math.sqrt(3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_closed_geodesics_return(dtype):
    """A principal angle that grows by π returns to the same subspace."""
    x, u = (t.to(dtype) for t in with_singular_values([math.pi, 5 * math.pi], 6, 3))
    gap = (projector(grassmann_exp(x, u)) - projector(x)).abs().max()
    assert gap <= 200 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_huge_tangents(dtype):
    x = frames(10, 3, seed=1, dtype=dtype)
    u = tangent(x, 2, 50.0).requires_grad_()
    y = grassmann_exp(x, u)
    identity = torch.eye(3, dtype=dtype)
    assert torch.linalg.matrix_norm(y.mT @ y - identity) <= (1e-5 if dtype == torch.float32 else 1e-13)
    expected = pymanopt.manifolds.Grassmann(10, 3).exp(x.double().numpy(), u.detach().double().numpy())
    np.testing.assert_allclose(projector(y.detach()), expected @ expected.T, rtol=0, atol=3e3 * torch.finfo(dtype).eps)
    y.sum().backward()
    assert torch.isfinite(u.grad).all()


# The cut locus


CUT = {"one right angle": [0.3, math.pi / 2], "all right": [math.pi / 2] * 2, "one line": [math.pi / 2]}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CUT)
def test_log_at_the_cut_locus_is_a_valid_choice(name, dtype):
    values = CUT[name]
    x, u = (t.to(dtype) for t in with_singular_values(values, 6, 7))
    y = grassmann_exp(x, u) @ rotation(len(values), 9, dtype)
    found = grassmann_log(x, y)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(
        torch.linalg.svdvals(found).flip(-1), torch.tensor(values, dtype=dtype), rtol=0, atol=20 * eps
    )
    assert (x.mT @ found).abs().max() <= 20 * eps
    assert (projector(grassmann_exp(x, found)) - projector(y)).abs().max() <= 50 * eps


@pytest.mark.parametrize("n, p", [(4, 2), (6, 3), (2, 1)])
def test_log_between_complements_of_axes(n, p):
    e = torch.eye(n, dtype=torch.float64)
    x, y = e[:, :p].clone().requires_grad_(), e[:, p : 2 * p].clone().requires_grad_()
    u = grassmann_log(x, y)
    assert torch.linalg.matrix_norm(u).item() == pytest.approx(math.sqrt(p) * math.pi / 2, rel=1e-14)
    assert (projector(grassmann_exp(x, u)) - projector(y)).abs().max() <= 1e-14
    u.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("offset", [1e-15, 1e-12, 1e-8, 1e-4])
def test_beside_the_cut_locus_the_shorter_way_is_taken(offset):
    x, u = with_singular_values([math.pi / 2 + offset, 0.2], 6, 1)
    found = grassmann_log(x, grassmann_exp(x, u))
    values = torch.linalg.svdvals(found)
    assert values[0] <= math.pi / 2 + 1e-15
    assert values[0].item() == pytest.approx(math.pi / 2 - offset, abs=1e-14)


# Gradients


def check(function, *inputs: Tensor, **options) -> None:
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(function, leaves, **options)


def exp_of_any(a: Tensor, b: Tensor) -> Tensor:
    x = polar(a)
    return projector(grassmann_exp(x, horizontal(x, b)))


def log_of_any(a: Tensor, b: Tensor) -> Tensor:
    return grassmann_log(polar(a), polar(b))


TIED = {
    "zero": [0.0, 0.0],
    "one zero": [0.0, 0.8],
    "tied": [0.7, 0.7],
    "nearly tied": [0.7, 0.7 + 1e-9],
    "tiny": [1e-9, 1e-5],
    "apart": [0.2, 1.1],
    "three tied": [0.5, 0.5, 0.5],
    "long": [4.0, 7.0],
    "at π": [math.pi, 1.0],
}


@pytest.mark.parametrize("name", TIED)
def test_gradients_of_exp(name):
    x, u = with_singular_values(TIED[name], 2 * len(TIED[name]) + 1, 3)
    check(exp_of_any, x, u)


@pytest.mark.parametrize("name", TIED)
def test_gradients_of_transport(name):
    x, u = with_singular_values(TIED[name], 2 * len(TIED[name]) + 1, 3)

    def carried(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        y = polar(a)
        return grassmann_transport(y, horizontal(y, b), horizontal(y, c))

    check(carried, x, u, randn(*x.shape, seed=9))


@pytest.mark.parametrize("name", [n for n, v in TIED.items() if max(v) < 1.5])
def test_gradients_of_log(name):
    x, u = with_singular_values(TIED[name], 2 * len(TIED[name]) + 1, 3)
    y = grassmann_exp(x, u) @ rotation(len(TIED[name]), 5)
    check(log_of_any, x, y)


@pytest.mark.parametrize("function", [exp_of_any, log_of_any])
def test_gradients_broadcast(function):
    check(function, frames(5, 2, seed=1), frames(2, 5, 2, seed=2))
    check(function, frames(2, 5, 2, seed=1), frames(5, 2, seed=2))


def test_gradients_at_coincident_points():
    x = frames(6, 2, seed=1)
    check(log_of_any, x, x @ rotation(2, 2))


def test_gradient_of_the_length_of_a_log_at_tied_angles():
    x, u = with_singular_values([0.6, 0.6], 5, 3)
    check(lambda a, b: torch.linalg.matrix_norm(log_of_any(a, b)), x, grassmann_exp(x, u))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [*TIED, *CUT])
def test_gradients_are_always_finite(name, dtype):
    values = {**TIED, **CUT}[name]
    x, u = (t.to(dtype).requires_grad_() for t in with_singular_values(values, 2 * len(values), 3))
    y = grassmann_exp(x, u)
    grassmann_log(x, y.detach()).square().sum().backward()
    y.cos().sum().backward()
    grassmann_transport(x, u, u).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(u.grad).all()


def test_second_derivatives_are_refused_not_wrong():
    x, u = with_singular_values([0.3, 0.5], 5, 1)
    u.requires_grad_()
    (grad,) = torch.autograd.grad(grassmann_exp(x, u).square().mul(torch.arange(2.0)).sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_long_oblique_or_overflowing_input_is_refused(unchecked):
    x = torch.eye(6, 2)
    huge = torch.zeros(6, 2)
    huge[5, 0] = 1e25
    for call, message in (
        (lambda: grassmann_exp(x, huge), "overflow"),
        (lambda: grassmann_log(2 * x, x), "orthonormal"),
        (lambda: grassmann_log(x, 2 * x), "orthonormal"),
        (lambda: grassmann_transport(x, torch.ones(6, 2), huge), "horizontal"),
        *(
            (
                lambda r=r: Grassmann(r).retr(torch.eye(6, 3) * torch.tensor([1.0, 1, 0]), torch.zeros(6, 3)),
                "orthonormal",
            )
            for r in ("qr", "polar", "cayley")
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_cayley_takes_the_horizontal_part():
    x = torch.eye(6, 2, dtype=torch.float64)
    u = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(6, 2)
    y = Grassmann("cayley").retr(x, u)
    torch.testing.assert_close(y.mT @ y, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-14)
