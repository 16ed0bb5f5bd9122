"""The kernels: what they compute against SciPy, and gradients where those of an SVD or eigh are NaN."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.linalg
import torch
from cases import DTYPES, projector, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo import linalg
from hyperspectral_geo.fixed_point import anderson, implicit_gradient
from hyperspectral_geo.manifolds.geodesics import arc_ratio, arc_ratio_derivative

FUNCTIONS = {
    "square": (torch.square, lambda t: 2 * t),
    "exp": (torch.exp, torch.exp),
    "sqrt": (torch.sqrt, lambda t: 0.5 / t.sqrt()),
    "rsqrt": (torch.rsqrt, lambda t: -0.5 * t**-1.5),
    "cos_sqrt": (linalg.cos_sqrt, linalg.cos_sqrt_derivative),
    "sinc_sqrt": (linalg.sinc_sqrt, linalg.sinc_sqrt_derivative),
}
SPECTRA = {
    "apart": [1.0, 2.0, 5.0],
    "tied": [2.0, 2.0, 2.0],
    "two tied": [1.0, 1.0, 3.0],
    "nearly tied": [1.0, 1.0 + 1e-9, 1.0 + 1e-6],
    "a step apart": [1.0, 1.5, 1.5 + 1e-12],
}


def symmetric(values: list[float], seed: int = 1) -> Tensor:
    q = rotation(len(values), seed)
    return (q * torch.tensor(values, dtype=torch.float64)) @ q.mT


# Orthonormal bases


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 2), (3, 3), (4, 1), (2, 3, 6, 4), (0, 4, 2)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_orthonormalize_is_qr_with_a_positive_diagonal(shape, dtype, scale):
    a = randn(*shape, seed=1, dtype=dtype) * scale
    q = linalg.orthonormalize(a)
    r = q.mT @ a
    eps = torch.finfo(dtype).eps
    identity = torch.eye(shape[-1], dtype=dtype).expand_as(r)
    torch.testing.assert_close(q.mT @ q, identity, rtol=0, atol=20 * eps)
    torch.testing.assert_close(q @ r, a, rtol=0, atol=20 * eps * scale * 4)
    torch.testing.assert_close(r.tril(-1), torch.zeros_like(r), rtol=0, atol=20 * eps * scale * 4)
    assert (r.diagonal(dim1=-2, dim2=-1) > 0).all()


@given(seed=st.integers(0, 10_000), a=st.floats(-5, 5))
def test_orthonormalize_keeps_the_span_under_column_operations(seed, a):
    x = randn(6, 3, seed=seed)
    mixed = x.clone()
    mixed[:, 2] = mixed[:, 2] + a * x[:, 0]
    gap = projector(linalg.orthonormalize(mixed)) - projector(linalg.orthonormalize(x))
    assert gap.abs().max() <= 1e-12 * (1 + np.linalg.cond(x) ** 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("column", [0, 1, 2])
def test_orthonormalize_names_the_dependent_column(column, dtype):
    a = randn(2, 6, 3, seed=1, dtype=dtype)
    a[1, :, column] = a[1, :, :column].sum(-1)
    with pytest.raises(ValueError, match=rf"column {column} of item \(1,\) depends"):
        linalg.orthonormalize(a)


def test_orthonormalize_takes_columns_of_very_different_length():
    a = rotation(5, 1)[:, :3] * torch.tensor([1e-12, 1.0, 1e12], dtype=torch.float64)
    gap = projector(linalg.orthonormalize(a)) - projector(rotation(5, 1)[:, :3])
    assert gap.abs().max() <= 1e-14


def test_orthonormalize_has_gradients():
    assert torch.autograd.gradcheck(linalg.orthonormalize, randn(2, 5, 3, seed=1).requires_grad_())


# Polar factors


@given(seed=st.integers(0, 10_000), n=st.integers(1, 7), p=st.integers(1, 4))
def test_polar_agrees_with_scipy(seed, n, p):
    n = max(n, p)
    a = randn(n, p, seed=seed)
    expected, _ = scipy.linalg.polar(a.numpy())
    np.testing.assert_allclose(linalg.polar(a), expected, rtol=0, atol=1e-12 * np.linalg.cond(a.numpy()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("a", [torch.zeros(4, 2), torch.ones(4, 2), 1e-30 * torch.ones(3, 3), 1e18 * torch.eye(3, 2)])
def test_polar_of_any_rank_is_orthonormal_with_finite_gradients(a, dtype):
    a = a.detach().clone().to(dtype).requires_grad_()
    u = linalg.polar(a)
    identity = torch.eye(u.shape[-1], dtype=dtype)
    assert (u.mT @ u - identity).abs().max() <= 20 * torch.finfo(dtype).eps
    u.sum().backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("values", [[1.0, 1.0], [3.0, 1.0], [1e-3, 1.0], [2.0, 2.0, 2.0]])
def test_polar_has_gradients_at_ties(values):
    p = len(values)
    a = rotation(p + 2, 1)[:, :p] @ symmetric(values, 2)
    assert torch.autograd.gradcheck(linalg.polar, a.requires_grad_(), eps=1e-7, atol=1e-4)
    square = rotation(p, 1) @ symmetric(values, 2)
    assert torch.autograd.gradcheck(linalg.polar, square.requires_grad_(), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_polar_of_an_empty_batch(dtype):
    assert linalg.polar(torch.zeros(0, 4, 2, dtype=dtype)).shape == (0, 4, 2)


# Functions of symmetric matrices


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_symmetric_matrices(name, spectrum):
    f, derivative = FUNCTIONS[name]
    a = symmetric(SPECTRA[spectrum]).requires_grad_()
    result = linalg.symmetric_function(a, f, derivative)
    values = torch.tensor(SPECTRA[spectrum], dtype=torch.float64)
    q = rotation(len(values), 1)
    torch.testing.assert_close(result, (q * f(values)) @ q.mT, rtol=1e-13, atol=1e-12)
    assert torch.autograd.gradcheck(lambda t: linalg.symmetric_function(t, f, derivative), a, atol=1e-6)


def test_functions_of_symmetric_matrices_read_the_symmetric_part():
    a, skew = symmetric([1.0, 2.0, 4.0]), randn(3, 3, seed=2)
    other = linalg.symmetric_function(a + skew - skew.mT, *FUNCTIONS["exp"])
    torch.testing.assert_close(other, linalg.symmetric_function(a, *FUNCTIONS["exp"]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["cos_sqrt", "sinc_sqrt", "exp"])
@pytest.mark.parametrize(
    ("a", "b"), [(0.0, 0.0), (0.0, 1e-13), (1e-9, 3e-9), (0.1, 0.1 + 1e-10), (0.2, 0.7), (0.2, 0.70001), (3.0, 40.0)]
)
def test_divided_differences_to_full_precision(name, a, b):
    mp.mp.dps = 60
    exact = {
        "cos_sqrt": lambda t: mp.cos(mp.sqrt(t)),
        "sinc_sqrt": lambda t: mp.sin(mp.sqrt(t)) / mp.sqrt(t) if t else mp.mpf(1),
        "exp": mp.exp,
    }[name]
    x = torch.tensor([a, b], dtype=torch.float64)
    found = linalg.divided_difference(*FUNCTIONS[name], x)
    a, b = mp.mpf(x[0].item()), mp.mpf(x[1].item())
    slope = (exact(a) - exact(b)) / (a - b) if a != b else mp.diff(exact, a + mp.mpf(10) ** -30)
    assert abs(found[0, 1].item() - float(slope)) <= 1e-14 * max(1, abs(float(slope)))
    assert found[0, 1].item() == pytest.approx(found[1, 0].item(), rel=1e-14)


@given(g=st.floats(1e-18, 1e4) | st.just(0.0))
def test_scalar_functions_against_mpmath(g):
    mp.mp.dps = 60
    t = mp.mpf(g)
    root = mp.sqrt(t)
    x = torch.tensor([g], dtype=torch.float64)
    tolerance = 1e-15 * (1 + math.sqrt(g))
    assert abs(linalg.cos_sqrt(x).item() - mp.cos(root)) <= tolerance
    sinc = mp.sin(root) / root if g else mp.mpf(1)
    assert abs(linalg.sinc_sqrt(x).item() - sinc) <= tolerance
    slope = (mp.cos(root) - sinc) / (2 * t) if g else -mp.mpf(1) / 6
    assert abs(linalg.sinc_sqrt_derivative(x).item() - slope) <= tolerance
    assert abs(linalg.cos_sqrt_derivative(x).item() + sinc / 2) <= tolerance


@pytest.mark.parametrize("below", [-1e-17, -1e-300])
def test_rounding_below_zero_is_read_as_zero(below):
    x = torch.tensor([below], dtype=torch.float64)
    assert linalg.cos_sqrt(x).item() == linalg.sinc_sqrt(x).item() == 1


@given(theta=st.floats(1e-9, math.pi / 2))
def test_arc_ratio_against_mpmath(theta):
    mp.mp.dps = 60
    s = torch.tensor([math.cos(theta)], dtype=torch.float64)
    c = mp.mpf(s.item())
    exact = mp.acos(c) / mp.sqrt(1 - c * c) if c < 1 else mp.mpf(1)
    assert abs(arc_ratio(s).item() - exact) <= 1e-15 * 4
    slope = (c * exact - 1) / (1 - c * c) if c < 1 else -mp.mpf(1) / 3
    assert abs(arc_ratio_derivative(s).item() - slope) <= 1e-14


@pytest.mark.parametrize("largest", [1e-12, 0.1, 1.0, 3.9, 4.1, 100.0])
def test_cosine_and_sinc_of_a_matrix_root(largest):
    """On both sides of the switch from a polynomial to eigenvalues."""
    values = [0.0, largest / 7, largest / 2]
    g = symmetric(values)
    cos, sinc = linalg.cos_and_sinc_sqrt(g)
    q, t = rotation(3, 1), torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(cos, (q * linalg.cos_sqrt(t)) @ q.mT, rtol=0, atol=1e-14 * (1 + largest))
    torch.testing.assert_close(sinc, (q * linalg.sinc_sqrt(t)) @ q.mT, rtol=0, atol=1e-14 * (1 + largest))
    batch = linalg.cos_and_sinc_sqrt(g.expand(2, 3, 3, 3))
    torch.testing.assert_close(batch[0][1, 2], cos, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shapes", [((), (), ()), ((3,), (3,), (3,)), ((3,), (), ()), ((2, 3), (3,), (2, 1))])
def test_add_product_adds_in_place(shapes):
    out, a, b = (
        randn(*batch, *size, seed=i)
        for i, (batch, size) in enumerate(zip(shapes, ((4, 2), (4, 3), (3, 2)), strict=True))
    )
    expected = out - 0.5 * (a @ b)
    result = linalg.add_product_(out, a, b, alpha=-0.5)
    assert result.data_ptr() == out.data_ptr()
    torch.testing.assert_close(result, expected)


# Fixed points


def test_anderson_solves_a_linear_system_in_as_many_steps_as_it_has_unknowns():
    a = symmetric([0.1, 0.5, 0.9])
    b = randn(3, 1, seed=2)
    x, residual = anderson(lambda x: a @ x + b, torch.zeros(3, 1, dtype=torch.float64), tolerance=1e-13, memory=6)
    torch.testing.assert_close(x, torch.linalg.solve(torch.eye(3, dtype=torch.float64) - a, b), rtol=1e-10, atol=1e-11)
    assert residual.shape == ()
    calls = []
    anderson(lambda x: (calls.append(0), a @ x + b)[1], torch.zeros(3, 1, dtype=torch.float64), tolerance=1e-10)
    assert len(calls) <= 8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_anderson_survives_dependent_differences(dtype):
    """In one dimension all differences are parallel, so their Gram matrix is singular to rounding."""
    start = torch.linspace(0.1, 3, 40, dtype=dtype)[:, None, None]
    x, residual = anderson(torch.cos, start, tolerance=1e-30, max_iterations=60)
    assert (x - 0.7390851332151607).abs().max() <= 4 * torch.finfo(dtype).eps
    assert residual.max() <= 2 * torch.finfo(dtype).eps


def test_anderson_returns_the_best_when_it_runs_out_or_diverges():
    x, residual = anderson(lambda x: 3 * x + 1, torch.zeros(1, 1), tolerance=1e-6, max_iterations=1)
    assert x.item() == 0
    assert residual.item() == 1
    x, residual = anderson(lambda x: x / 0 if x.abs() > 0 else x + 1, torch.zeros(1, 1), tolerance=1e-6)
    assert torch.isfinite(x).all()
    assert torch.isfinite(residual).all()


def test_implicit_gradient_is_that_of_the_solution():
    a, b = symmetric([0.1, 0.5, 0.9]), randn(3, 1, seed=2)
    solution = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - a, b)
    grad = randn(3, 1, seed=3)
    (found, unused) = implicit_gradient(
        lambda x, b, c: a @ x + b, solution, (b, b.clone()), grad, project=lambda v: v, tolerance=1e-14
    )
    torch.testing.assert_close(
        found, torch.linalg.solve(torch.eye(3, dtype=torch.float64) - a.mT, grad), rtol=1e-9, atol=0
    )
    assert unused is None


@pytest.mark.parametrize(
    "values", [(1e-3, 0.4), (1e-6, 2e-6), (0.2, 0.25), (0.9, 1.1), (3.0, 3.0 + 1e-9), (2.0, 2.0)], ids=str
)
def test_divided_differences_of_functions_singular_at_zero(values):
    """The interval between two eigenvalues may come near a singularity that no polynomial rule can follow."""
    x = torch.tensor(values, dtype=torch.float64)
    for f, derivative, exact in (
        (torch.log, torch.reciprocal, mp.log),
        (torch.sqrt, lambda t: 0.5 / t.sqrt(), mp.sqrt),
        (torch.rsqrt, lambda t: -0.5 * t**-1.5, lambda t: 1 / mp.sqrt(t)),
    ):
        a, b = (mp.mpf(v) for v in values)
        with mp.workdps(60):
            expected = (exact(a) - exact(b)) / (a - b) if a != b else mp.diff(exact, a)
        assert linalg.divided_difference(f, derivative, x)[0, 1].item() == pytest.approx(float(expected), rel=1e-13)
